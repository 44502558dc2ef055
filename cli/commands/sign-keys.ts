import {
  DraftView,
  OnlineRotationBody,
  ReleaseKeysBody,
  ReleaseKeysView,
} from '../../server/metadata/wire.ts'
import type { Command, CommandInput, Option } from '../command.ts'
import { usageError } from '../failure.ts'
import { readPublicPart, storedPassphrase } from '../sign/key-folder.ts'
import { newKey } from '../sign/new-key.ts'
import { isPq, replaceInRoot, replacementIn } from '../sign/replace-key.ts'
import { askNewPassphrase, passphraseOr } from '../signing-person.ts'

const keys: Option = {
  type: 'string',
  value: 'DIR',
  about: 'the folder of the offline keys (./keys)',
}

/** Keys that change: new ones, and roots and targets that name others (updates.md 3.4 and 3.5). */
export const keyCommands: readonly Command[] = [
  {
    verb: 'new-key',
    args: 'NAME',
    summary: 'Make another offline key, to take the place of one that was lost or stolen',
    options: {
      keys,
      'post-quantum': { type: 'boolean', about: 'with an ML-DSA half, as hybrid roots require' },
      token: {
        type: 'string',
        value: 'URI',
        about:
          'make the key in a token: pkcs11:token=LABEL;object=NAME?module-path=/…; its PIN is the passphrase',
      },
    },
    run: async ({ args: [name = ''], values, out, world }) => {
      const keysDir = values.text('keys') ?? './keys'
      const tokenUri = values.text('token')
      const made = await newKey({
        keysDir,
        name,
        passphrase: passphraseOr(storedPassphrase(keysDir) ?? askNewPassphrase(world), world),
        tokenUri,
        ...(values.flag('post-quantum') ? { postQuantum: 'ml-dsa-65' as const } : {}),
      })
      out.rows(made, [
        { head: 'key', cell: (key) => key.name },
        { head: 'file', cell: (key) => key.file },
        { head: 'key id', cell: (key) => key.keyid },
      ])
    },
  },
  {
    verb: 'replace-key',
    args: 'ROLE OLD [NEW]',
    summary:
      'Draft a root or targets without a key (root, director-root, targets, release), with another in its place',
    options: { keys },
    run: replaceKey,
  },
  {
    verb: 'rotate-online',
    args: 'REPOSITORY',
    summary:
      "Replace the server's own keys of image or director: drafts the root that names others",
    options: {
      role: {
        type: 'string',
        multiple: true,
        value: 'ROLE',
        about: 'only this one: targets, snapshot or timestamp',
      },
      again: { type: 'boolean', about: 'other keys in the place of keys that wait already' },
    },
    run: async ({ client, args: [repository = ''], values, out }) => {
      const roles = values.texts('role')
      const { data: body } = OnlineRotationBody.safeParse({
        repository,
        ...(roles.length > 0 ? { roles } : {}),
        ...(values.flag('again') ? { again: true } : {}),
      })
      if (!body) throw usageError('A repository is image or director; see --help for the roles')
      const draft = await (await client()).act(DraftView, '/metadata/online-keys/rotation', body)
      showDraft(out, draft.repository === 'director' ? 'director-root' : 'root', draft.version)
    },
  },
]

async function replaceKey(input: CommandInput): Promise<void> {
  const {
    args: [role = '', old = '', next],
    client,
    values,
    out,
  } = input
  const replacement = replacementIn(readPublicPart(values.text('keys') ?? './keys'), old, next)
  const api = await client()
  if (role === 'release') {
    const path = '/metadata/release-keys'
    const before = await api.get(ReleaseKeysView, path)
    const kept = before.keys.filter(({ keyid }) => !replacement.retired.includes(keyid))
    if (kept.length === before.keys.length) throw usageError(`${old} is no key of releases`)
    const fresh = replacement.added.map((key) => ({
      name: `${next}${isPq(key) ? '.pq' : ''}`,
      key,
    }))
    const list = [...kept.map(({ name, key }) => ({ name, key })), ...fresh]
    await api.replace(ReleaseKeysView, path, ReleaseKeysBody.parse({ keys: list }))
    const draft = await api.get(DraftView, '/metadata/targets/draft')
    return showDraft(out, 'targets', draft.version)
  }
  const inRole = role === 'targets' ? 'targets' : 'root'
  const name = role === 'director-root' ? role : 'root'
  if (role !== name && role !== 'targets') {
    throw usageError('Keys are replaced in root, director-root, targets and release')
  }
  const path = `/metadata/${name}/draft` as const
  // What waits already keeps what else it changes.
  const { signed } = await api.act(DraftView, path, {})
  const draft = await api.act(DraftView, path, {
    signed: replaceInRoot(signed, inRole, replacement),
  })
  showDraft(out, name, draft.version)
}

function showDraft(out: CommandInput['out'], role: string, version: number): void {
  out.answer(
    { role, version },
    () =>
      `version ${version} of ${role} waits for signatures\nnext: fleetseal sign ${role} (offline: fleetseal sign draft ${role})`,
  )
}

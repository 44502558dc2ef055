import { readFile, writeFile } from 'node:fs/promises'

import { z } from 'zod'

import {
  DraftView,
  OnlineKeysView,
  RolesView,
  RootsView,
  SignaturesBody,
  SignedView,
} from '../../server/metadata/wire.ts'
import type { ApiClient } from '../api.ts'
import type { CommandInput, Noun, Option } from '../command.ts'
import { usageError } from '../failure.ts'
import { readSmall } from '../settings.ts'
import { type Draft, readDraft } from '../sign/draft.ts'
import { initKeys } from '../sign/init.ts'
import { readPublicPart, storedPassphrase } from '../sign/key-folder.ts'
import { signDraft } from '../sign/sign.ts'
import {
  askConfirmation,
  askNewPassphrase,
  askPassphrase,
  passphraseOr,
} from '../signing-person.ts'
import { imageCommands } from './sign-image.ts'
import { keyCommands } from './sign-keys.ts'

const keys: Option = {
  type: 'string',
  value: 'DIR',
  about: 'the folder of the offline keys (./keys)',
}

export const signNoun: Noun = {
  noun: 'sign',
  summary: 'the offline keys: make them, look at drafts, sign',
  commands: [
    {
      verb: '',
      args: 'ROLE',
      summary:
        'Review and sign the next version of a role (root, targets, fw-MODEL, director-root)',
      options: {
        keys,
        key: {
          type: 'string',
          multiple: true,
          value: 'FILE',
          about: 'only this key of the folder',
        },
        file: {
          type: 'string',
          multiple: true,
          value: 'IMAGE',
          about: 'hash this image, which must be in the draft',
        },
        draft: { type: 'string', value: 'FILE', about: 'without a network: sign this draft' },
        out: { type: 'string', value: 'FILE', about: 'where the signatures go (in the folder)' },
        confirm: {
          type: 'string',
          value: 'VERSION',
          about: 'the version to sign, instead of being asked',
        },
      },
      run: sign,
    },
    {
      verb: 'init',
      args: '',
      summary: 'The key ceremony: make all offline keys and the first roots; never overwrites',
      options: {
        keys,
        evaluation: {
          type: 'boolean',
          about: 'keys for trying out: marked as such, passphrase beside them',
        },
        'post-quantum': {
          type: 'boolean',
          about: 'an ML-DSA half for every key; devices then require both for ever',
        },
        'online-keys': {
          type: 'string',
          value: 'FILE',
          about: "the server's online keys (asked from the server)",
        },
      },
      run: init,
    },
    {
      verb: 'online-keys',
      args: '',
      summary: "Public keys of the server's own roles, to carry to an offline ceremony",
      run: async ({ client, out }) =>
        out.answer(await (await client()).get(OnlineKeysView, '/metadata/online-keys'), (all) =>
          JSON.stringify(all, null, 2),
        ),
    },
    {
      verb: 'import',
      args: '',
      summary: 'Begin both repositories of the server with the roots of a key folder',
      options: { keys },
      run: async ({ client, values, out }) => {
        const publicPart = readPublicPart(values.text('keys') ?? './keys')
        const imported = await (await client()).act(RootsView, '/metadata/roots', publicPart)
        out.fields(imported, (one) => [
          ['imported', one.isNew ? 'now' : 'before'],
          ['evaluation', one.evaluation],
        ])
      },
    },
    {
      verb: 'status',
      args: '',
      summary: 'Every role: what is published, until when, what waits for signatures',
      run: async ({ client, out }) => {
        const { items } = await (await client()).get(RolesView, '/metadata')
        out.rows(items, [
          { head: 'repository', cell: (role) => role.repository },
          { head: 'role', cell: (role) => role.role },
          { head: 'published', cell: (role) => role.published?.version },
          { head: 'until', cell: (role) => role.published?.expiresAt },
          { head: 'draft', cell: (role) => role.draft?.version },
          {
            head: 'signatures',
            cell: (role) =>
              role.draft && `${role.draft.signatures} of ${role.draft.threshold ?? '?'}`,
          },
        ])
      },
    },
    {
      verb: 'draft',
      args: 'ROLE',
      summary: 'Save the draft of a role, to carry it to an offline machine',
      options: {
        out: { type: 'string', value: 'FILE', about: 'where it goes (ROLE.draft.json)' },
        renew: { type: 'boolean', about: 'draft the same content anew, before it expires' },
      },
      run: saveDraft,
    },
    ...keyCommands,
    ...imageCommands,
    {
      verb: 'submit',
      args: 'FILE',
      summary: 'Send a signature file that was made offline',
      run: async ({ client, args: [file = ''], out }) => {
        const text = await readSmall(file, 'the signature file', 'its path')
        show(out, await send(await client(), SignatureFile.parse(jsonOf(text, file))))
      },
    },
  ],
}

const SignatureFile = SignaturesBody.extend({
  repository: z.enum(['image', 'director']),
  role: z.string(),
  version: z.int(),
})

async function init({ client, values, out, world }: CommandInput): Promise<void> {
  const dir = values.text('keys') ?? './keys'
  const evaluation = values.flag('evaluation')
  const file = values.text('online-keys')
  const onlineKeys =
    file === undefined
      ? await (await client()).get(OnlineKeysView, '/metadata/online-keys')
      : OnlineKeysView.parse(
          jsonOf(await readSmall(file, 'the online keys', '--online-keys'), file),
        )
  const publicPart = await initKeys({
    dir,
    evaluation,
    ...(evaluation ? {} : { passphrase: askNewPassphrase(world) }),
    onlineKeys,
    ...(values.flag('post-quantum') ? { postQuantum: 'ml-dsa-65' as const } : {}),
    now: world.now(),
  })
  out.rows(publicPart.keys, [
    { head: 'key', cell: (key) => key.name },
    { head: 'file', cell: (key) => key.file },
    { head: 'key id', cell: (key) => key.keyid },
  ])
  if (evaluation) out.say('These are EVALUATION keys: for trying out, never for devices in use.')
  out.say(`next: fleetseal sign import --keys ${dir}`)
}

async function sign(input: CommandInput): Promise<void> {
  const {
    client,
    args: [role = ''],
    values,
    out,
    world,
  } = input
  const keysDir = values.text('keys') ?? './keys'
  const offline = values.text('draft')
  const draft =
    offline === undefined
      ? asDraft(
          await (await client()).get(DraftView, `/metadata/${encodeURIComponent(role)}/draft`),
        )
      : readDraft(await readFile(offline))
  if (urlRole(draft) !== role)
    throw usageError(`This is a draft of ${urlRole(draft)}, not of ${role}`)
  const keyFiles = values.texts('key')
  const path = values.text('out') ?? `${keysDir}/${role}.${draft.version}.signatures.json`
  const passphrase = passphraseOr(storedPassphrase(keysDir) ?? askPassphrase(world), world)
  const signatures = await signDraft({
    draft,
    keysDir,
    ...(keyFiles.length > 0 ? { keyFiles } : {}),
    images: values.texts('file'),
    passphrase,
    confirm: askConfirmation(world, values.text('confirm')),
    out: path,
    now: world.now(),
  })
  if (offline === undefined) {
    show(out, await send(await client(), signatures))
    return
  }
  out.answer(
    signatures,
    () =>
      `signed with ${signatures.signatures.length} keys: ${path}\nnext: fleetseal sign submit ${path}`,
  )
}

async function saveDraft({ client, args: [role = ''], values, out }: CommandInput): Promise<void> {
  const api = await client()
  const path = `/metadata/${encodeURIComponent(role)}/draft` as const
  const draft = values.flag('renew')
    ? await api.act(DraftView, path, {})
    : await api.get(DraftView, path)
  const file = values.text('out') ?? `${urlRole(draft)}.draft.json`
  await writeFile(file, `${JSON.stringify(draft, null, 2)}\n`)
  out.answer(
    { file, role, version: draft.version },
    () => `version ${draft.version} of ${role}: ${file}`,
  )
}

async function send(api: ApiClient, file: z.infer<typeof SignatureFile>) {
  const { signedSha256, signatures, pqSignatures, version } = file
  const path = `/metadata/${encodeURIComponent(urlRole(file))}/${version}/signatures` as const
  return await api.act(SignedView, path, {
    signedSha256,
    signatures,
    ...(pqSignatures && { pqSignatures }),
  })
}

/** The director's root is the one role whose name both repositories have. */
function urlRole({ repository, role }: { repository: string; role: string }): string {
  return repository === 'director' ? `director-${role}` : role
}

function asDraft(view: DraftView): Draft {
  return readDraft(Buffer.from(JSON.stringify(view)))
}

function jsonOf(text: string, file: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw usageError(`${file} is not JSON`)
  }
}

function show(out: CommandInput['out'], signed: z.infer<typeof SignedView>): void {
  out.fields(signed, (one) => [
    ['role', one.role],
    ['version', one.version],
    ['signatures', `${one.signatures} of ${one.threshold}`],
    ['state', one.state],
  ])
  if (signed.state === 'published') return
  for (const { keys, scheme, signatures, threshold } of signed.missing) {
    out.say(`${signatures} of ${threshold} ${scheme} signatures of its ${keys} keys`)
  }
  out.say(
    signed.missing.length > 0
      ? `next: more have to sign: fleetseal sign ${signed.role}`
      : 'next: fleetseal release publish RELEASE',
  )
}

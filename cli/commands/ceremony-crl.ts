import { toPem } from '../../pki/pem.ts'
import {
  confirm,
  confirmed,
  dir,
  folderOf,
  nameOf,
  passphraseFile,
  passphraseOf,
  show,
} from '../ceremony/asking.ts'
import { keyIdOf } from '../ceremony/key-id.ts'
import { type Entry, record } from '../ceremony/record.ts'
import { authorityReasons, makeRootCrl } from '../ceremony/revocations.ts'
import { openRoot, readRoot, refusing } from '../ceremony/root-folder.ts'
import type { Command, CommandInput } from '../command.ts'
import { usageError } from '../failure.ts'
import { writeNew } from '../sign/files.ts'
import { askPassphrase } from '../signing-person.ts'
import { plain } from '../text.ts'

export const crlCommand: Command = {
  verb: 'crl',
  args: '',
  summary: 'Sign the list of authorities that this root took back; a server publishes it',
  options: {
    dir,
    'passphrase-file': passphraseFile,
    revoke: {
      type: 'string',
      value: 'FILE',
      about: 'certificate of an authority to take back for good',
    },
    reason: {
      type: 'string',
      value: 'WHY',
      about: `one of ${authorityReasons.join(', ')} (needed with --revoke)`,
    },
    days: { type: 'string', value: 'N', about: 'how long the list is valid (365)' },
    out: { type: 'string', value: 'FILE', about: 'the list (./root.crl.pem)' },
    confirm,
  },
  run: crl,
}

async function crl({ values, out, world }: CommandInput): Promise<void> {
  const folder = folderOf(values)
  const file = values.text('revoke')
  const revoke = file === undefined ? [] : [readRoot(file)]
  const reason = values.oneOf('reason', authorityReasons)
  if (revoke.length > 0 && reason === undefined) {
    throw usageError('Why are they taken back?', `--reason ${authorityReasons.join('|')}`)
  }
  const days = values.number('days') ?? 365
  if (!Number.isInteger(days) || days < 1 || days > 3650) {
    throw usageError('--days must be a whole number from 1 to 3650')
  }
  for (const one of revoke) {
    world.stderr.write(`revoke: ${plain(nameOf(one.subject))}\nkey: ${keyIdOf(one.spki)}\n`)
    await confirmed(world, values, keyIdOf(one.spki))
  }
  const root = await openRoot(
    folder,
    await passphraseOf(values, 'passphrase-file', askPassphrase(world)),
  )
  const input = { dir: folder, root, revoke, reason: reason ?? 'superseded', days }
  const made = await refusing(() => makeRootCrl({ ...input, now: world.now() }))
  const entry: Entry = {
    at: world.now().toISOString(),
    action: 'crl',
    fingerprint: made.fingerprint,
    subject: `list ${made.number}, ${made.revoked} revoked`,
    notAfter: made.nextUpdate.toISOString(),
  }
  record(folder, [entry])
  const path = values.text('out') ?? './root.crl.pem'
  writeNew(path, toPem('X509 CRL', made.der), 0o644)
  show(out, [entry])
  out.say(`next: carry ${path} to the server: fleetseal authority import-crl ${path}`)
}

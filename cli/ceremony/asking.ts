import { readName } from '../../pki/names.ts'
import { type Certificate, fingerprint } from '../../pki/x509/parse.ts'
import type { CommandInput, Option } from '../command.ts'
import { usageError } from '../failure.ts'
import { readSmall } from '../settings.ts'
import type { Passphrase } from '../sign/key-folder.ts'
import { plain } from '../text.ts'
import type { Entry } from './record.ts'

/* What the commands at the root's machine ask for and show alike. */

export const dir: Option = {
  type: 'string',
  value: 'DIR',
  about: 'the folder of the root (./root)',
}
export const passphraseFile: Option = {
  type: 'string',
  value: 'FILE',
  about: 'read the passphrase from a file instead of asking',
}
export const confirm: Option = {
  type: 'string',
  value: 'KEY',
  about: 'the beginning of the key id, instead of being asked',
}

/** A person compares the key with what the server showed, so that nobody swaps the file on the way. */
export async function confirmed(
  { ask }: CommandInput['world'],
  values: CommandInput['values'],
  keyId: string,
): Promise<void> {
  const start = keyId.slice(0, 8)
  const typed =
    values.text('confirm') ??
    (await ask(`Type the first 8 characters of the key id, as the other machine shows it: `))
  if (typed === undefined) {
    throw usageError('Nobody can be asked here', 'Compare the key id, then add --confirm KEY')
  }
  const given = typed.trim().toLowerCase()
  if (given.length >= 8 && keyId.startsWith(given)) return
  throw usageError(
    `The key id begins with ${start}, not ${plain(given).slice(0, 64)}`,
    'Nothing was signed',
  )
}

export function entryOf(action: Entry['action'], certificate: Certificate, at: Date): Entry {
  return {
    at: at.toISOString(),
    action,
    fingerprint: fingerprint(certificate.der),
    subject: nameOf(certificate.subject),
    notAfter: certificate.notAfter.toISOString(),
  }
}

export function nameOf(name: Buffer): string {
  return readName(name)
    .map(({ value }) => value)
    .join(', ')
}

export function show(out: CommandInput['out'], made: readonly Entry[]): void {
  out.rows(made, [
    { head: 'made', cell: (entry) => entry.subject },
    { head: 'until', cell: (entry) => entry.notAfter },
    { head: 'fingerprint', cell: (entry) => entry.fingerprint },
  ])
}

export async function passphraseOf(
  values: CommandInput['values'],
  option: string,
  ask: Passphrase,
  /** Of a new one. The PIN of a token may be short: the token counts wrong ones. */
  least = 1,
): Promise<Passphrase> {
  const file = values.text(option)
  if (file === undefined) return ask
  const text = (await readSmall(file, 'the passphrase', `--${option}`)).trimEnd()
  if (text.length < least) throw usageError(`--${option}: at least ${least} characters`)
  return () => text
}

export function folderOf(values: CommandInput['values']): string {
  return values.text('dir') ?? './root'
}

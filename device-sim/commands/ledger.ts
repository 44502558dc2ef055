import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'

import { FileDisk } from '../disk.ts'
import { DeviceError, messageOf } from '../errors.ts'
import { loadJournal } from '../update/journal.ts'
import type { LedgerEntry } from '../update/ledger.ts'

export const ledgerHelp = `ledger --dir DIR [--json] [--export FILE]

  What was offered on this device, who chose what and when, and which text was shown. It is the owner's: it stays through
  updates, a new server and another enrollment in the same directory.
  --json         one JSON object a line
  --export FILE  the same into a file that is not there yet`

/** Prints or exports the owner's ledger. Throws DeviceError. */
export async function ledgerCommand(args: string[], print: (line: string) => void): Promise<void> {
  const { dir, json, file } = parse(args)
  const { ledger } = await loadJournal(await FileDisk.existing(dir))
  if (file !== undefined) {
    const text = ledger.map((entry) => `${JSON.stringify(viewOf(entry))}\n`).join('')
    await writeFile(file, text, { flag: 'wx', mode: 0o600 }).catch((error: unknown) => {
      throw usage(`${file} cannot be written: ${messageOf(error)}`)
    })
    return print(`${ledger.length} entries are in ${file}.`)
  }
  if (ledger.length === 0 && !json) return print('Nothing was offered or chosen yet.')
  for (const entry of ledger) print(json ? JSON.stringify(viewOf(entry)) : inWords(entry))
}

/** With instants that people and other programs can read. */
function viewOf({ at, until, ...entry }: LedgerEntry) {
  return {
    ...entry,
    at: new Date(at).toISOString(),
    ...(until !== undefined && { until: new Date(until).toISOString() }),
  }
}

const acts: Readonly<Record<LedgerEntry['act'], string>> = {
  accept: 'accepted it',
  postpone: 'put it off',
  optOut: 'opted out of all updates',
  optIn: 'opted in again',
  monitorOff: 'switched logging and monitoring off',
  monitorOn: 'switched logging and monitoring on again',
  decline: 'declined this one',
  quiet: 'set quiet hours',
  refused: 'was refused',
  offered: 'was shown the offer',
  accepted: 'began it by the rules',
  reminded: 'was reminded',
  newAdvisory: 'was shown a new advisory',
  override: 'was overridden',
  succeeded: 'installed it',
  rolled_back: 'went back to the old version',
  failed_final: 'did not install it',
}
const toOwner: readonly LedgerEntry['act'][] = ['offered', 'reminded', 'newAdvisory', 'override']

function inWords(entry: LedgerEntry): string {
  const { no, at, by, act, version, advisory, textSha256, until, detail } = entry
  const who = by === 'owner' || toOwner.includes(act) ? 'the owner' : 'the device'
  const what = [
    version && `update ${version}`,
    advisory && `advisory ${advisory}`,
    textSha256 && `text ${textSha256.slice(0, 12)}`,
    until !== undefined && `until ${new Date(until).toISOString()}`,
    detail,
  ].filter(Boolean)
  const about = what.length > 0 ? ` (${what.join(', ')})` : ''
  return `${no}. ${new Date(at).toISOString()} ${who} ${acts[act]}${about}`
}

function parse(args: string[]): { dir: string; json: boolean; file: string | undefined } {
  try {
    const { values } = parseArgs({
      args,
      options: {
        dir: { type: 'string' },
        json: { type: 'boolean' },
        export: { type: 'string' },
      },
      strict: true,
    })
    if (values.dir === undefined) throw new Error('--dir is missing')
    return { dir: values.dir, json: values.json ?? false, file: values.export }
  } catch (error) {
    throw usage(messageOf(error))
  }
}

function usage(message: string): DeviceError {
  return new DeviceError('usage', message, 'Run: npm run device -- help ledger')
}

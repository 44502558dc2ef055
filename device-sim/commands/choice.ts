import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

import { FileDisk } from '../disk.ts'
import { DeviceError, messageOf } from '../errors.ts'
import { handChoice } from '../inbox.ts'
import { isLocked } from '../lock.ts'
import { loadJournal } from '../update/journal.ts'
import { OwnerRequest } from '../update/owner.ts'
import { readStatus } from './status.ts'

export const choiceHelp = `accept | postpone [--hours N | --until TIME] | opt-out [--only-this] | opt-in
quiet FROM-TO … [--zone ZONE] | quiet none
monitoring off | monitoring on

  The owner's answer, with --dir DIR. A running agent takes it at once, another one when it starts.
  --hours N      postpone by so many hours; as long as allowed when left out
  --until TIME   postpone until then, such as 2026-12-01T08:00:00Z
  --only-this    opt out of the features that are offered now, not of all updates
  FROM-TO        hours in which a restart does not disturb, such as 22:00-06:00
  monitoring     whether the maker is told what happens to the device
  --zone ZONE    of these hours, such as Europe/Berlin; that of the device when left out`

const names: Record<string, OwnerRequest['choice']> = {
  accept: 'accept',
  postpone: 'postpone',
  'opt-out': 'optOut',
  'opt-in': 'optIn',
  quiet: 'quiet',
  monitoring: 'monitorOff',
}
const waitMs = 5_000
const lookMs = 100

export function isChoice(command: string): boolean {
  return Object.hasOwn(names, command)
}

export async function choiceCommand(
  command: string,
  args: string[],
  print: (line: string) => void,
): Promise<void> {
  const { dir, choice, until, onlyThis, quiet } = parseChoice(command, args)
  const status = await readStatus(dir)
  if (choice === 'accept' && status.task?.ownerMayChoose !== true) {
    throw new DeviceError(
      'choice',
      'Nothing is offered that could be accepted',
      'Run: npm run device -- status',
    )
  }
  const id = await handChoice(dir, {
    choice,
    onlyThis,
    ...(until !== undefined && { until }),
    ...(quiet && { quiet }),
  })
  if (!(await isLocked(dir))) {
    print('Noted. It takes effect when the agent runs: npm run device -- run')
    return
  }
  const outcome = await outcomeOf(dir, id)
  print(outcome ?? 'Handed to the agent, which is busy; see: npm run device -- status')
}

/** The agent writes what came of it beside the choice. */
async function outcomeOf(dir: string, id: string): Promise<string | undefined> {
  const disk = await FileDisk.existing(dir)
  for (let waited = 0; waited < waitMs; waited += lookMs) {
    const { handled } = await loadJournal(disk)
    const found = handled.find((one) => one.id === id)
    if (found) return found.outcome
    await sleep(lookMs)
  }
  return undefined
}

function parseChoice(command: string, args: string[]) {
  const named = names[command]
  if (!named) throw usage(`No such choice: ${command}`)
  const { values, positionals } = parse(args)
  const choice = command === 'monitoring' ? monitoringOf(positionals) : named
  const takesWords = command === 'quiet' || command === 'monitoring'
  if (!takesWords && positionals.length > 0) throw usage(`${positionals[0]} is too much`)
  if (values.dir === undefined) throw usage('--dir is missing')
  return {
    dir: values.dir,
    choice,
    until: untilOf(values),
    onlyThis: values['only-this'] ?? false,
    quiet: choice === 'quiet' ? quietOf(positionals, values.zone) : undefined,
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        dir: { type: 'string' },
        hours: { type: 'string' },
        until: { type: 'string' },
        'only-this': { type: 'boolean' },
        zone: { type: 'string' },
      },
      strict: true,
      allowPositionals: true,
    })
  } catch (error) {
    throw usage(messageOf(error))
  }
}

function quietOf(spans: string[], zone: string | undefined): OwnerRequest['quiet'] {
  if (spans.length === 0) throw usage('Which hours? Such as: quiet 22:00-06:00, or: quiet none')
  const parsed = OwnerRequest.shape.quiet.safeParse({
    spans: spans[0] === 'none' ? [] : spans,
    ...(zone !== undefined && { zone }),
  })
  if (parsed.success && parsed.data) return parsed.data
  throw usage(`${spans.join(' ')} is not FROM-TO; at most four of them, such as 22:00-06:00`)
}

function monitoringOf(words: string[]): OwnerRequest['choice'] {
  const [word, ...more] = words
  if (more.length === 0 && word === 'off') return 'monitorOff'
  if (more.length === 0 && word === 'on') return 'monitorOn'
  throw usage('Say: monitoring off, or: monitoring on')
}

function untilOf({ hours, until }: { hours?: string; until?: string }): string | undefined {
  if (hours === undefined && until === undefined) return undefined
  const at = hours === undefined ? Date.parse(until ?? '') : Date.now() + Number(hours) * 3_600_000
  if (Number.isNaN(at) || at > 8.64e15) throw usage('That is not a time')
  return new Date(at).toISOString()
}

function usage(message: string): DeviceError {
  return new DeviceError('usage', message, 'Run: npm run device -- help accept')
}

import { parseArgs } from 'node:util'

import { choiceCommand, choiceHelp, isChoice } from './commands/choice.ts'
import { enrollCommand, enrollHelp } from './commands/enroll.ts'
import { fleetCommand, fleetHelp } from './commands/fleet.ts'
import { ledgerCommand, ledgerHelp } from './commands/ledger.ts'
import { runCommand } from './commands/run.ts'
import { statusCommand } from './commands/status.ts'
import { DeviceError, messageOf } from './errors.ts'

const help = `The device agent. It opens no port; everything it keeps is in one directory.

  npm run device -- enroll …            make a device and get its certificate
  npm run device -- run --dir DIR       run it, until Ctrl-C (--verbose says more)
  npm run device -- status --dir DIR    what runs, what is offered, what you can do
  npm run device -- accept | postpone | opt-out | opt-in --dir DIR
  npm run device -- quiet 22:00-06:00 --zone Europe/Berlin --dir DIR
  npm run device -- ledger --dir DIR    what was offered, who chose what and when
  npm run device -- fleet …             make twenty devices, or more, and run them all
  npm run device -- help [command]

Exit codes: 0 done, 1 refused or failed, 2 usage, 3 server not reached.`

const exitCodes = { ok: 0, failed: 1, usage: 2, offline: 3 }

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

async function main([command = 'help', ...args]: string[]): Promise<void> {
  if (isChoice(command)) return await choiceCommand(command, args, print)
  switch (command) {
    case 'enroll':
      return await enrollCommand(args, print)
    case 'run':
      return await runCommand({ ...commonOf(args), print, stopped: signalled() })
    case 'status':
      return await statusCommand(commonOf(args).dir, print)
    case 'fleet':
      return await fleetCommand({ args, print, stopped: signalled() })
    case 'ledger':
      return await ledgerCommand(args, print)
    case 'help':
    case '--help':
      return print(helpFor(args[0]))
    default:
      throw new DeviceError('usage', `No such command: ${command}`, 'Run: npm run device -- help')
  }
}

function helpFor(topic: string | undefined): string {
  if (topic === 'enroll') return enrollHelp
  if (topic === 'fleet') return fleetHelp
  if (topic === 'ledger') return ledgerHelp
  return topic !== undefined && isChoice(topic) ? choiceHelp : help
}

function commonOf(args: string[]): { dir: string; verbose: boolean } {
  const next = 'Run: npm run device -- help'
  try {
    const { values } = parseArgs({
      args,
      options: { dir: { type: 'string' }, verbose: { type: 'boolean' } },
      strict: true,
    })
    if (values.dir !== undefined) return { dir: values.dir, verbose: values.verbose ?? false }
  } catch (error) {
    throw new DeviceError('usage', messageOf(error), next)
  }
  throw new DeviceError('usage', '--dir is missing', next)
}

async function signalled(): Promise<void> {
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
  })
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof DeviceError)) throw error
  process.stderr.write(`${error.message}\n${error.next}\n`)
  process.exitCode =
    error.code === 'usage'
      ? exitCodes.usage
      : error.code === 'offline'
        ? exitCodes.offline
        : exitCodes.failed
}

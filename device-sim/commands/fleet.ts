import { parseArgs } from 'node:util'

import { DeviceError, messageOf } from '../errors.ts'
import { startFleet } from '../fleet.ts'
import { enrollOptions, enrollmentOf } from './enroll.ts'

const { serial: _serial, ...memberOptions } = enrollOptions
const options = {
  ...memberOptions,
  count: { type: 'string' },
  failing: { type: 'string' },
  accept: { type: 'boolean' },
  'serial-prefix': { type: 'string' },
} as const

export const fleetHelp = `fleet: enrolls devices and runs them, until Ctrl-C; run again with the same --dir, they are the same devices

  --dir DIR                 one folder for each device in it: device-001, … (required)
  --count N                 so many (20), 10,000 at most
  --failing N               on so many of them, the last ones, no new image passes its test (0)
  --accept                  every owner says yes to what is offered; without it, features wait for them
  --serial-prefix TEXT      serial numbers are this and six digits (SIM-)

and everything that enroll takes, but --serial: npm run device -- help enroll`

export interface FleetInput {
  args: string[]
  print: (line: string) => void
  /** Resolves when the fleet is to stop. */
  stopped: Promise<unknown>
}

/** Enrolls what is not enrolled yet, runs all of them until told to stop, and says what becomes of updates. Throws DeviceError. */
export async function fleetCommand({ args, print, stopped }: FleetInput): Promise<void> {
  const values = parse(args)
  const count = numberOf('--count', values.count ?? '20')
  const failing = numberOf('--failing', values.failing ?? '0')
  const prefix = values['serial-prefix'] ?? 'SIM-'
  const ended = new AbortController()
  const over = stopped.then(() => ended.abort())
  const fleet = await startFleet({
    ...(await enrollmentOf(values)),
    count,
    serialPrefix: prefix,
    behavior: (index) => ({
      failHealth: index >= count - failing,
      ...(values.accept && { onOffer: 'accept' }),
    }),
    signal: ended.signal,
    onAgent: (agent, index) => {
      const serial = `${prefix}${String(index + 1).padStart(6, '0')}`
      agent.on('state', ({ version, state }) => print(`${serial}  update ${version}: ${state}`))
      agent.on('refused', ({ code, detail }) => print(`${serial}  refused (${code}): ${detail}`))
    },
  }).catch((error: unknown) => {
    if (!ended.signal.aborted) throw error
  })
  if (fleet === undefined) return
  print(`${count} devices are up; Ctrl-C stops them`)
  await over
  await fleet.stop()
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options, strict: true }).values
  } catch (error) {
    throw usage(messageOf(error))
  }
}

function numberOf(name: string, text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text)
  throw usage(`${name} ${text} is not a whole number`)
}

function usage(message: string): DeviceError {
  return new DeviceError('usage', message, 'Run: npm run device -- help fleet')
}

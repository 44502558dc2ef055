import { DeviceAgent } from '../agent.ts'
import type { Log } from '../update/device.ts'

export interface RunInput {
  dir: string
  verbose: boolean
  print: (line: string) => void
  /** Resolves when the agent is to stop. */
  stopped: Promise<unknown>
}

/** Runs the agent of a directory until it is told to stop, and says what happens. Throws DeviceError. */
export async function runCommand({ dir, verbose, print, stopped }: RunInput): Promise<void> {
  const log: Log = (message, details = {}) => {
    if (verbose) print(`  ${message} ${JSON.stringify(details)}`)
  }
  const agent = new DeviceAgent({ dir, log })
  agent.on('connected', () => print('Connected'))
  agent.on('disconnected', () => print('Disconnected; it comes back by itself'))
  agent.on('reboot', () => print('Restarted'))
  agent.on('state', ({ version, state }) => print(`Update ${version}: ${state}`))
  agent.on('refused', ({ code, detail }) => print(`Refused an update (${code}): ${detail}`))
  agent.on('outcome', (outcome) => print(outcome))
  await agent.start()
  print(`Device ${agent.deviceId} is up`)
  await stopped
  await agent.stop()
}

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { type AgentOptions, DeviceAgent } from './agent.ts'
import type { Behavior } from './behavior.ts'
import type { DeviceConfigInput } from './config.ts'
import { type Enrollment, enrollDevice } from './enroll.ts'
import { DeviceError } from './errors.ts'

export interface FleetOptions extends Pick<
  Enrollment,
  'root' | 'imageRoot' | 'directorRoot' | 'profile' | 'token' | 'images'
> {
  count: number
  /** Holds one directory a device: `device-001`, … */
  dir: string
  /** Of every device; its serial number is `<serialPrefix><number>`. */
  config: Omit<DeviceConfigInput, 'format' | 'serialNumber'>
  serialPrefix?: string
  /** By number of the device, from 0. */
  behavior?: (index: number) => Behavior
  log?: (index: number) => AgentOptions['log']
  /** Called before a device starts, to listen to it. */
  onAgent?: (agent: DeviceAgent, index: number) => void
  /** Starts are spread over this time, in milliseconds, so that a fleet does not come all at once. */
  spreadMs?: number
  signal?: AbortSignal
}

export interface Fleet extends AsyncDisposable {
  agents: DeviceAgent[]
  stop(): Promise<void>
}

const maxDevices = 10_000
const atOnce = 4
const enrollTries = 10

/**
 * Enrolls what is not enrolled yet and starts all devices. Rejects when one cannot be enrolled or started, with
 * those that run stopped again.
 */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const { count, spreadMs = 1_000, signal } = options
  if (!Number.isSafeInteger(count) || count < 1 || count > maxDevices) {
    throw new DeviceError('usage', `A fleet has 1 to ${maxDevices} devices`, 'Give another count')
  }
  await mkdir(options.dir, { recursive: true, mode: 0o700 })
  const agents: DeviceAgent[] = []
  const stop = async () => {
    await Promise.all(agents.map((agent) => agent.stop()))
  }
  const gapMs = spreadMs / count
  const next = Array.from({ length: count }, (_, index) => index).values()
  const worker = async () => {
    for (const index of next) {
      signal?.throwIfAborted()
      await enrollMember(options, index)
      const agent = memberAgent(options, index)
      agents[index] = agent
      options.onAgent?.(agent, index)
      await agent.start()
      await sleep(gapMs * Math.min(atOnce, count) * (0.5 + Math.random()))
    }
  }
  const workers = Array.from({ length: Math.min(atOnce, count) }, worker)
  const failed = (await Promise.allSettled(workers)).find(({ status }) => status === 'rejected')
  if (failed?.status === 'rejected') {
    await stop()
    throw failed.reason
  }
  return { agents, stop, [Symbol.asyncDispose]: stop }
}

export function memberDir(dir: string, index: number): string {
  return join(dir, `device-${String(index + 1).padStart(3, '0')}`)
}

function memberAgent({ dir, behavior, log }: FleetOptions, index: number): DeviceAgent {
  const itsLog = log?.(index)
  return new DeviceAgent({
    dir: memberDir(dir, index),
    behavior: behavior?.(index) ?? {},
    ...(itsLog && { log: itsLog }),
  })
}

/** A server that is away or busy for a moment is waited for. */
async function enrollMember(options: FleetOptions, index: number): Promise<void> {
  const { config, serialPrefix = 'SIM-', dir, ...rest } = options
  const number = String(index + 1).padStart(6, '0')
  for (let tries = 1; ; tries += 1) {
    try {
      await enrollDevice({
        ...rest,
        dir: memberDir(dir, index),
        config: { ...config, format: 1, serialNumber: `${serialPrefix}${number}` },
      })
      return
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error
      if (error.code === 'already-enrolled') return
      const isPassing = error.code === 'offline' || error.code === 'pending'
      if (!isPassing || tries >= enrollTries) throw error
      await sleep(Math.min(error.retryAfterMs ?? 500 * tries, 10_000))
    }
  }
}

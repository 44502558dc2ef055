import { setTimeout as sleep } from 'node:timers/promises'

import type { DeviceAgent } from '../../device-sim/agent.ts'
import type { DeviceConfigInput } from '../../device-sim/config.ts'
import { type Fleet, startFleet } from '../../device-sim/fleet.ts'

/* A part of the soak's fleet, in a process of its own: real agents that enroll, update, renew, and now and then lose power. */

export interface FleetOrder {
  count: number
  dir: string
  serialPrefix: string
  root: string
  imageRoot: string
  directorRoot: string
  profile: string
  token: string
  config: Omit<DeviceConfigInput, 'format' | 'serialNumber'>
  /** Over which the first starts are spread. */
  spreadMs: number
  /** Devices that lose power each minute. */
  churnPerMinute: number
}

/** What it says every few seconds. */
export interface FleetReport {
  up: boolean
  connected: number
  renewed: number
  restarts: number
  /** Devices that succeeded with each version. */
  succeeded: Record<string, number>
  /** Updates that did not, by their last state, and refusals by code. */
  trouble: Record<string, number>
}

const reportMs = 2_000
const longestOffMs = 10_000

const report: FleetReport = {
  up: false,
  connected: 0,
  renewed: 0,
  restarts: 0,
  succeeded: {},
  trouble: {},
}
const more = (counts: Record<string, number>, name: string) => {
  counts[name] = (counts[name] ?? 0) + 1
}

function listen(agent: DeviceAgent): void {
  agent.on('state', ({ state, version }) => {
    if (state === 'succeeded') more(report.succeeded, version)
    else if (state === 'rolled_back' || state.startsWith('failed')) more(report.trouble, state)
  })
  agent.on('refused', ({ code, detail }) => {
    // Numbers and hashes differ each time.
    const what = detail.replaceAll(/[0-9a-f-]*\d[0-9a-f-]*/g, 'N').slice(0, 80)
    more(report.trouble, `refused ${code}: ${what}`)
  })
  agent.on('renewed', () => report.renewed++)
}

/** Each loses power for a moment in its turn; what it must not forget is on its disk. */
async function churn({ agents }: Fleet, perMinute: number): Promise<never> {
  for (let turn = 0; ; turn++) {
    await sleep(60_000 / perMinute)
    const agent = agents[(turn * 7) % agents.length]
    if (!agent) continue
    void (async () => {
      await agent.stop()
      await sleep(longestOffMs * Math.random())
      await agent.start()
      report.restarts++
    })().catch((error: unknown) => {
      more(report.trouble, error instanceof Error ? error.message.slice(0, 80) : 'restart')
    })
  }
}

async function run(order: FleetOrder): Promise<void> {
  const { churnPerMinute, ...rest } = order
  const agents: DeviceAgent[] = []
  const timer = setInterval(() => {
    report.connected = agents.filter((agent) => agent.status()?.connected === true).length
    process.send?.(report)
  }, reportMs)
  const fleet = await startFleet({
    ...rest,
    onAgent: (agent) => {
      agents.push(agent)
      listen(agent)
    },
  })
  report.up = true
  process.once('disconnect', () => process.exit(0))
  process.on('message', (word) => {
    if (word !== 'stop') return
    clearInterval(timer)
    void fleet.stop().then(() => process.exit(0))
  })
  if (churnPerMinute > 0) await churn(fleet, churnPerMinute)
}

process.once('message', (order) => {
  run(order as FleetOrder).catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
})

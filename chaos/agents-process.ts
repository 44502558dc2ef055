import { setTimeout as sleep } from 'node:timers/promises'

import type { DeviceAgent } from '../device-sim/agent.ts'
import type { DeviceConfigInput } from '../device-sim/config.ts'
import { startFleet } from '../device-sim/fleet.ts'

/* A part of the fleet in a process of its own, which may be killed at any moment: all it must not forget is on its disk. */

export interface AgentsOrder {
  count: number
  dir: string
  serialPrefix: string
  root: string
  imageRoot: string
  directorRoot: string
  profile: string
  token: string
  config: Omit<DeviceConfigInput, 'format' | 'serialNumber'>
  failing: readonly number[]
}

export interface AgentView {
  deviceId: string
  connected: boolean
  version: string
  /** Messages that the server has not acknowledged. */
  waiting: number
  refusals: string[]
  /** No new image works on it. */
  isFailing: boolean
}

export type AgentsWord =
  | { word: 'up' }
  /** The server acknowledged this report. */
  | { word: 'acknowledged'; deviceId: string; deploymentId: string; state: string }
  | { word: 'status'; agents: AgentView[] }

const statusMs = 500
const againMs = 1_000

const say = (word: AgentsWord) => process.send?.(word)

async function run({ failing, ...order }: AgentsOrder): Promise<void> {
  const agents: DeviceAgent[] = []
  const refusals = new Map<DeviceAgent, string[]>()
  const broken = new Set<DeviceAgent>()
  setInterval(() => {
    say({
      word: 'status',
      agents: agents.flatMap((agent) => {
        const status = agent.status()
        if (!status) return []
        const { deviceId, connected, installed, waiting } = status
        const version = installed[0]?.version ?? ''
        const isFailing = broken.has(agent)
        const own = refusals.get(agent) ?? []
        return [{ deviceId, connected, version, waiting, refusals: own, isFailing }]
      }),
    })
  }, statusMs)
  for (;;) {
    try {
      await startFleet({
        ...order,
        spreadMs: 200,
        behavior: (index) => (failing.includes(index) ? { failHealth: true } : {}),
        onAgent: (agent, index) => {
          if (failing.includes(index)) broken.add(agent)
          agents.push(agent)
          const own: string[] = []
          refusals.set(agent, own)
          agent.on('refused', ({ code, detail }) => own.push(`${code}: ${detail}`))
          agent.on('sent', ({ leaf, body }) => {
            if (leaf !== 'report') return
            const { deploymentId, state } = body as { deploymentId: string; state: string }
            say({ word: 'acknowledged', deviceId: agent.deviceId, deploymentId, state })
          })
        },
      })
      return void say({ word: 'up' })
    } catch (error) {
      // The server is away for longer than an enrollment waits.
      console.error(error)
      agents.length = 0
      await sleep(againMs)
    }
  }
}

process.once('disconnect', () => process.exit(0))
process.once('message', (order) => void run(order as AgentsOrder))

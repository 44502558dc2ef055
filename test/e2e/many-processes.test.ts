import { setTimeout as sleep } from 'node:timers/promises'

import { expect, test } from 'vitest'

import { createAgents } from '../support/agents.ts'
import { createTestDatabase } from '../support/database.ts'
import { openSite, publishRelease, startRollout } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

const limitMs = 120_000

async function eventually<T>(read: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const end = Date.now() + 60_000
  for (;;) {
    const value = await read()
    if (value !== undefined && value !== false) return value
    if (Date.now() > end) throw new Error(`waited too long: ${String(read)}`)
    await sleep(50)
  }
}

/** Of the broker processes that were started so far, in that order. */
function brokerPids(server: RunningServer): number[] {
  return [...server.output().matchAll(/"brokerPid":(\d+),"msg":"a broker process is ready"/g)].map(
    ([, pid]) => Number(pid),
  )
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

async function openServer(stack: AsyncDisposableStack) {
  const database = stack.use(await createTestDatabase())
  if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  const server = stack.use(
    await startServer({ DATABASE_URL: database.url, FLEETSEAL_BROKERS: '2' }),
  )
  return { server, url: database.url }
}

test(
  'devices are enrolled, updated and disabled by two broker processes, one of which is killed meanwhile',
  async () => {
    await using stack = new AsyncDisposableStack()
    const { server } = await openServer(stack)
    const before = brokerPids(server)
    expect(before).toHaveLength(2)
    const site = await openSite(server)
    const agents = stack.use(createAgents(server, site))
    const serials = Array.from({ length: 6 }, (_, n) => `MANY-${n}`)
    for (const serial of serials) await agents.powerUp(serial)
    const image = Buffer.alloc(100_000, 7)
    const release = { version: '1.0.1', build: 200, image, metadataVersion: 1 }
    const rollout = await startRollout(site, await publishRelease(site, release))
    process.kill(before[0] ?? 0, 'SIGKILL')
    const { fleetseal } = site.operator
    await eventually(async () => {
      const rows = await fleetseal<{ state: string }[]>('rollout', 'deployments', rollout)
      const done = rows.filter(({ state }) => state === 'succeeded')
      return done.length === serials.length || undefined
    })
    const after = await eventually(() => {
      const pids = brokerPids(server)
      return pids.length === 3 ? pids : undefined
    })
    expect(isAlive(after[2] ?? 0)).toBe(true)
    expect(server.output()).toContain('a broker process ended; starting it again')
  },
  limitMs,
)

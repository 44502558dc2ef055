import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import { expect, test } from 'vitest'

import { createAgents } from '../support/agents.ts'
import { startBalancer } from '../support/balancer.ts'
import { startBeside } from '../support/beside.ts'
import { createTestDatabase } from '../support/database.ts'
import { SeededRandom } from '../support/fleet/random.ts'
import { openSite, publishRelease, startRollout } from '../support/operator.ts'
import { startServer } from '../support/server.ts'

const devices = 10
/** On these the image does not work, whoever serves them. */
const broken = new Set([3, 7])

/** A rollout to the same ten devices; a seed says which server dies, and when. Returns the end of each device. */
async function story(seed: number | undefined): Promise<Record<string, string>> {
  await using stack = new AsyncDisposableStack()
  const database = stack.use(await createTestDatabase())
  if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  const first = stack.use(await startServer({ DATABASE_URL: database.url }))
  const site = await openSite(first)
  const servers = [first]
  if (seed !== undefined) servers.push(stack.use(await startBeside(first, database.url)))
  const mqtt = stack.use(await startBalancer(servers.map(({ ports }) => ports.mqtt)))
  const https = stack.use(await startBalancer(servers.map(({ ports }) => ports.device)))
  const agents = stack.use(
    createAgents(first, site, { mqttPort: mqtt.port, devicePort: https.port }),
  )
  for (let n = 0; n < devices; n++) {
    await agents.powerUp(`TWO-${n}`, { behavior: broken.has(n) ? { failHealth: true } : {} })
  }
  const image = randomBytes(300_000)
  const release = { version: '1.0.1', build: 200, image, metadataVersion: 1 }
  const rollout = await startRollout(site, await publishRelease(site, release))
  if (seed !== undefined) {
    const random = new SeededRandom(seed)
    // Its moment is the point of the seed, not a wait for something.
    await sleep(random.between(0, 2_500))
    const victim = servers[random.between(0, 1)]
    await victim?.kill()
    await sleep(random.between(0, 3_000))
    await victim?.restart()
    expect(Math.min(...mqtt.counts())).toBeGreaterThan(0)
  }
  const { fleetseal } = site.operator
  const end = Date.now() + 150_000
  for (;;) {
    const rows = await fleetseal<{ deviceId: string; state: string; code: string | null }[]>(
      'rollout',
      'deployments',
      rollout,
    )
    const ended = rows.filter(({ state }) => ['succeeded', 'rolled_back'].includes(state))
    if (ended.length === devices) {
      const named = new Map(agents.all.map((agent, n) => [agent.deviceId, `TWO-${n}`]))
      return Object.fromEntries(
        rows
          .map(({ deviceId, state, code }) => [named.get(deviceId) ?? '', `${state} ${code}`])
          .toSorted(([a = ''], [b = '']) => (a < b ? -1 : 1)),
      )
    }
    if (Date.now() > end) throw new Error(`not all have ended: ${JSON.stringify(rows)}`)
    await sleep(200)
  }
}

/** `TWO_SERVERS_SEEDS=1,2,3` plays more of them. */
const seeds = (process.env['TWO_SERVERS_SEEDS'] ?? '1').split(',').map(Number)

test(
  'two servers at one rollout, one of them killed at a random moment, end as one does',
  async () => {
    const alone = await story(undefined)
    expect(Object.values(alone).filter((end) => end.startsWith('rolled_back'))).toHaveLength(2)
    for (const seed of seeds) {
      console.info(`seed ${seed}`)
      expect(await story(seed)).toEqual(alone)
    }
  },
  200_000 + seeds.length * 200_000,
)

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { type Agents, createAgents } from '../support/agents.ts'
import { DdiClient } from '../support/ddi-client.ts'
import { imageFor } from '../support/images.ts'
import { openSite, publishRelease, type Site, startRollout } from '../support/operator.ts'
import { type RunningPostgres, startPostgres } from '../support/postgres.ts'
import { probe, until } from '../support/probe.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { enroll, talk } from '../support/talking-device.ts'

/** Devices that hold a connection, one that polls, and operators, while the database goes away and comes back. */
let stack: AsyncDisposableStack
let database: RunningPostgres
let server: RunningServer
let site: Site
let agents: Agents
let poller: DdiClient
let release = 0

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  database = await startPostgres({ max_connections: '25' })
  stack.defer(database.stop)
  server = stack.use(await startServer({ DATABASE_URL: database.url }))
  site = await openSite(server)
  agents = stack.use(createAgents(server, site))
  for (const serial of ['OUT-1', 'OUT-2']) await agents.powerUp(serial)
  const { fleetseal } = site.operator
  await fleetseal(
    'ddi',
    'model',
    'gate-2',
    'swupdate',
    '--component',
    'main',
    '--version-attribute',
    'v',
  )
  await fleetseal('ddi', 'profile', 'line-1', 'gate-2', 'gate-2-r3')
  poller = await DdiClient.enroll(server, site, 'OUT-POLLS')
  await until(readyz, ({ status }) => status === 200)
}, 180_000)
afterAll(() => stack.disposeAsync())

const readyz = async () => await probe(server, '/readyz')
/** So many devices as the process itself says are connected; it needs no database for that. */
const connected = async () => {
  const { body } = await probe(server, '/metrics')
  return Number(/^fleetseal_mqtt_connections (\d+)$/m.exec(String(body))?.[1])
}

interface Traffic {
  acknowledged: string[]
  /** Statuses of what was not acknowledged. */
  refused: Set<number>
  end: () => Promise<void>
}

/** An operator who goes on making groups, one after the other, and notes what he was told. */
function makeGroups(prefix: string): Traffic {
  const acknowledged: string[] = []
  const refused = new Set<number>()
  let isOver = false
  const work = async () => {
    for (let no = 0; !isOver; no++) {
      const name = `${prefix} ${no}`
      const { status } = await probe(server, '/api/v1/groups', { method: 'POST', body: { name } })
      if (status === 201) acknowledged.push(name)
      else refused.add(status)
      await sleep(20)
    }
  }
  const running = work()
  const end = async () => {
    isOver = true
    await running
  }
  return { acknowledged, refused, end }
}

async function rollOut(): Promise<string> {
  release += 1
  const image = imageFor('swupdate', `1.0.${release}`, randomBytes(50_000))
  const what = { version: `1.0.${release}`, build: 100 + release, image }
  return await startRollout(site, await publishRelease(site, { ...what, metadataVersion: release }))
}

const updated = async (rollout: string) =>
  await until(
    async () => {
      const { fleetseal } = site.operator
      return await fleetseal<{ state: string }[]>('rollout', 'deployments', rollout)
    },
    (rows) => rows.filter(({ state }) => state === 'succeeded').length === 2,
  )

const ways: [name: string, down: () => Promise<() => Promise<void>>][] = [
  [
    'stopped',
    async () => {
      await database.halt('SIGINT')
      return database.start
    },
  ],
  [
    'killed',
    async () => {
      await database.halt('SIGKILL')
      return database.start
    },
  ],
  [
    'stalled',
    async () => {
      const goOn = database.stall()
      return async () => goOn()
    },
  ],
]

test.each(ways)(
  'the database is %s: said, nothing lost, and it goes on by itself',
  async (name, down) => {
    const pid = server.pid()
    await until(connected, (count) => count === 2)
    const traffic = makeGroups(name)
    await enroll(server, site, `OUT-TALKS-${name}`)
    const talking = await talk(server, `OUT-TALKS-${name}`)
    await until(
      async () => Math.min(traffic.acknowledged.length, talking.acknowledged.length),
      (count) => count > 3,
    )
    const back = await down()
    const late = async () => await enroll(server, site, `OUT-LATE-${name}`)
    // Refused for now; of a database that stands still the answer may come when it goes on.
    const first = late().then(
      (deviceId) => ({ deviceId, why: '' }),
      (error: unknown) => ({ deviceId: undefined, why: String(error) }),
    )
    const { body } = await until(readyz, ({ status }) => status === 503)
    expect(body).toMatchObject({
      status: 'not-ready',
      checks: { database: 'does not answer', broker: 'ok', disk: 'ok' },
    })
    expect(await probe(server, '/healthz')).toEqual({ status: 200, body: { status: 'ok' } })
    // Who is connected stays so: the right to be is in memory.
    expect(await connected()).toBeGreaterThanOrEqual(2)
    // The device with a message that nobody stores is told nothing: it keeps it.
    const told = talking.acknowledged.length
    // A poll is answered from memory, or refused for now; it is not left without an answer.
    const polled = await poller.call('GET', '')
    expect([200, 503]).toContain(polled.status)
    if (name !== 'stalled') {
      await until(
        async () => traffic.refused.size,
        (count) => count > 0,
      )
    }
    if (name !== 'stalled') {
      expect((await first).why).toContain('The server asks to wait (503)')
      expect(talking.acknowledged).toHaveLength(told)
    }
    await back()
    await until(readyz, ({ status }) => status === 200)
    const before = traffic.acknowledged.length
    await until(
      async () =>
        Math.min(traffic.acknowledged.length - before, talking.acknowledged.length - told),
      (count) => count > 0,
    )
    await Promise.all([traffic.end(), talking.end()])
    expect([...traffic.refused].filter((status) => status !== 503)).toEqual([])
    const client = new pg.Client({ connectionString: database.url })
    await client.connect()
    const { rows } = await client.query<{ name: string }>(
      'select name from device_group where name = any($1)',
      [traffic.acknowledged],
    )
    expect(rows.map((row) => row.name).toSorted()).toEqual(traffic.acknowledged.toSorted())
    // Each once: what came twice because its acknowledgement did not arrive, too.
    const events = await client.query<{ no: number }>(
      `select (facts ->> 'detail')::int as no from security_event where device_id = $1 and kind = 'outage' order by 1`,
      [talking.deviceId],
    )
    expect(events.rows.map(({ no }) => no)).toEqual(talking.acknowledged)
    // The request that was refused is answered now, with one certificate and one number.
    const enrolled = (await first).deviceId ?? (await late())
    const issued = await client.query<{ state: string }>(
      'select state from certificate where device_id = $1',
      [enrolled],
    )
    expect(issued.rows).toEqual([{ state: 'issued' }])
    await client.end()
    await poller.root()
    await updated(await rollOut())
    expect(server.pid()).toBe(pid)
  },
)

/** Takes every connection that can be had, those of the server too, until it is told to give them back. */
function takeAll(): { end: () => Promise<void> } {
  const taken: pg.Client[] = []
  let isOver = false
  const work = async () => {
    while (!isOver) {
      const client = new pg.Client({ connectionString: database.url })
      client.on('error', () => {})
      const isIn = await client.connect().then(
        () => true,
        () => false,
      )
      if (isIn) taken.push(client)
      else await sleep(20)
      await taken[0]?.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'fleetseal%'`,
      )
    }
  }
  const running = work()
  const end = async () => {
    isOver = true
    await running
    await Promise.all(taken.map(async (client) => await client.end()))
  }
  return { end }
}

test('all connections of the database are taken by others: refused for now, and had again later', async () => {
  const groups = async () => await probe(server, '/api/v1/groups')
  const others = takeAll()
  await until(groups, ({ status }) => status === 503)
  const { body } = await until(readyz, ({ status }) => status === 503)
  expect(body).toMatchObject({ status: 'not-ready' })
  expect((await probe(server, '/healthz')).status).toBe(200)
  await others.end()
  await until(readyz, ({ status }) => status === 200)
  expect((await groups()).status).toBe(200)
})

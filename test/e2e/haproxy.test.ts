import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { type Agents, createAgents } from '../support/agents.ts'
import { startBeside } from '../support/beside.ts'
import { createTestDatabase } from '../support/database.ts'
import { type Haproxy, noHaproxy, startHaproxy } from '../support/haproxy.ts'
import { openSite, publishRelease, type Site, startRollout } from '../support/operator.ts'
import { RawDevice } from '../support/raw-device.ts'
import { type RunningServer, startServer } from '../support/server.ts'

const stack = new AsyncDisposableStack()
const patience = { timeout: 120_000, interval: 50 }
/** Where a device or person is that is not the balancer. */
const elsewhere = '127.0.0.5'

let servers: [RunningServer, RunningServer]
let haproxy: Haproxy
let site: Site
let agents: Agents
beforeAll(async () => {
  if (noHaproxy !== undefined) return
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-haproxy-'))
  stack.defer(async () => await rm(folder, { recursive: true, force: true }))
  const database = stack.use(await createTestDatabase())
  if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  const settings = { DATABASE_URL: database.url, FLEETSEAL_PROXY_FROM: '127.0.0.1/32' }
  const first = stack.use(await startServer(settings))
  const second = stack.use(await startBeside(first, database.url, settings))
  servers = [first, second]
  haproxy = stack.use(await startHaproxy(folder, [first.ports, second.ports]))
  // From here on everybody knows the balancer's ports only.
  const balanced = { ...first, ports: haproxy.ports }
  site = await openSite(balanced)
  agents = stack.use(createAgents(balanced, site))
}, 120_000)
afterAll(async () => await stack.disposeAsync())

const there = test.skipIf(noHaproxy !== undefined)
const why = noHaproxy === undefined ? '' : ` (${noHaproxy})`

interface Event {
  kind: string
  facts: Record<string, unknown>
}
const eventsOf = async (...more: string[]) =>
  await site.operator.fleetseal<Event[]>('events', 'list', '--limit', '200', ...more)

/** An administrator somewhere else. */
async function call(port: number, path: string, body?: object) {
  const asked = request({
    host: '127.0.0.1',
    port,
    servername: 'localhost',
    ca: await readFile(servers[0].ca, 'utf8'),
    localAddress: elsewhere,
    method: body ? 'POST' : 'GET',
    path,
    headers: {
      authorization: `Bearer ${await servers[0].apiKey()}`,
      'content-type': 'application/json',
    },
  })
  asked.end(body && JSON.stringify(body))
  const [answer] = await once(asked, 'response')
  return { status: answer.statusCode as number, body: await text(answer) }
}

there(
  `a device enrolls, connects and gets an update through haproxy${why}`,
  async () => {
    const agent = await agents.powerUp('BEHIND-1')
    await expect.poll(() => agent.status()?.connected, patience).toBe(true)
    const image = Buffer.alloc(100_000, 7)
    const release = { version: '1.0.1', build: 200, image, metadataVersion: 1 }
    const rollout = await startRollout(site, await publishRelease(site, release))
    const states = async () =>
      (await site.operator.fleetseal<{ state: string }[]>('rollout', 'deployments', rollout)).map(
        ({ state }) => state,
      )
    await expect.poll(states, patience).toEqual(['succeeded'])
  },
  150_000,
)

there(
  `what is recorded has the address in front of haproxy${why}`,
  async () => {
    const ca = await readFile(servers[0].ca, 'utf8')
    const device = await RawDevice.open(haproxy.ports.mqtt, ca, undefined, {
      localAddress: elsewhere,
    })
    await device.closed
    await expect
      .poll(async () => await eventsOf('--kind', 'mqtt-no-certificate'), patience)
      .toMatchObject([{ facts: { remoteAddress: elsewhere } }])
    const { status } = await call(haproxy.ports.api, '/api/v1/groups', { name: 'yard' })
    expect(status).toBe(201)
    const rows = await site.operator.fleetseal<{ action: string; origin: object }[]>(
      'audit',
      'list',
    )
    expect(rows.filter(({ action }) => action === 'group.create')).toContainEqual(
      expect.objectContaining({ origin: expect.objectContaining({ address: elsewhere }) }),
    )
  },
  150_000,
)

there(
  `health checks are in no log${why}`,
  async () => {
    const before = servers.map((server) => server.output().length)
    const checks = async () => {
      const pages = await Promise.all(
        servers.map(async ({ ports }) => await call(ports.api, '/metrics')),
      )
      return pages.map(({ body }) =>
        Number(/mqtt_refused_total\{reason="connection-broken"\} (\d+)/.exec(body)?.[1] ?? 0),
      )
    }
    const least = (await checks()).map((count) => count + 10)
    for (const n of [0, 1]) {
      await expect.poll(async () => (await checks())[n], patience).toBeGreaterThan(least[n] ?? 0)
    }
    const lines = servers.flatMap((server, n) => server.output().slice(before[n]).split('\n'))
    const others = lines.filter((line) => !line.includes('"msg":"request"'))
    expect(others.filter((line) => /proxy|mqtt|tls|listener/i.test(line))).toEqual([])
    const kinds = (await eventsOf()).map(({ kind }) => kind)
    expect(kinds.filter((kind) => kind.startsWith('mqtt-'))).toEqual(['mqtt-no-certificate'])
  },
  150_000,
)

there(
  `who is on haproxy's machine and goes around it is closed, and recorded${why}`,
  async () => {
    const [{ ports, ca }] = servers
    const device = await RawDevice.open(ports.mqtt, await readFile(ca, 'utf8'))
    await device.closed
    const facts = { fault: 'bad', remoteAddress: '127.0.0.1' }
    await expect
      .poll(async () => await eventsOf('--kind', 'mqtt-proxy-header'), patience)
      .toMatchObject([{ facts }])
  },
  150_000,
)

there(
  `a device is at the other server when its own one stops${why}`,
  async () => {
    const at = async (n: number) => (await haproxy.states()).get(`mqtt/${'ab'[n]}`)
    const held = async () => [(await at(0))?.sessions, (await at(1))?.sessions]
    await expect.poll(async () => (await held()).join(' '), patience).toMatch(/^(0 1|1 0)$/)
    const [own, other] = (await at(0))?.sessions === 1 ? ([0, 1] as const) : ([1, 0] as const)
    await servers[own].stop()
    await expect.poll(async () => (await at(other))?.sessions, patience).toBe(1)
    await expect.poll(() => agents.all[0]?.status()?.connected, patience).toBe(true)
    await expect.poll(async () => (await at(own))?.status, patience).toBe('DOWN')
    await expect.poll(held, patience).toEqual(own === 0 ? [0, 1] : [1, 0])
  },
  150_000,
)

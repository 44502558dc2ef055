import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { expect, test } from 'vitest'

import { createSender } from '../../cli/send.ts'
import { type Agents, createAgents } from '../support/agents.ts'
import { createTestDatabase } from '../support/database.ts'
import { createEmptyDatabase } from '../support/empty-database.ts'
import { openSite, publishRelease, type Site, startRollout } from '../support/operator.ts'
import { freePort } from '../support/postgres.ts'
import { type RunningServer, startServer } from '../support/server.ts'

const limitMs = 300_000

async function eventually<T>(read: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const end = Date.now() + 150_000
  for (;;) {
    const value = await read()
    if (value !== undefined) return value
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

async function ask(server: RunningServer, path: string): Promise<string> {
  using sender = createSender({
    server: `https://localhost:${server.ports.api}`,
    ca: await readFile(server.ca, 'utf8'),
    apiKey: await server.apiKey(),
    timeoutMs: 30_000,
  })
  let text = ''
  for await (const chunk of await sender.open({ method: 'GET', path, headers: {} }))
    text += String(chunk)
  return text
}

async function allSucceed(site: Site, rollout: string, devices: number): Promise<void> {
  await eventually(async () => {
    const rows = await site.operator.fleetseal<{ state: string }[]>(
      'rollout',
      'deployments',
      rollout,
    )
    return rows.filter(({ state }) => state === 'succeeded').length === devices || undefined
  })
}

async function update(site: Site): Promise<string> {
  const image = Buffer.alloc(100_000, 7)
  const release = { version: '1.0.1', build: 200, image, metadataVersion: 1 }
  return await startRollout(site, await publishRelease(site, release))
}

/** The right to be connected ends wherever the device is. */
async function isDisabled(site: Site, agents: Agents, n: number): Promise<void> {
  const agent = agents.all[n]
  await eventually(() => agent?.status()?.connected || undefined)
  await site.operator.fleetseal('device', 'disable', agent?.deviceId ?? '', '--reason', 'odd')
  await eventually(() => agent?.status()?.connected === false || undefined)
}

/** With what a second machine brings along; `kek` undefined: without the key. */
async function joining(kek: Buffer | undefined, artifacts?: string): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'fleetseal-e2e-'))
  await mkdir(join(home, 'data'), { mode: 0o700 })
  if (kek) await writeFile(join(home, 'data', 'kek'), kek, { mode: 0o600 })
  if (artifacts !== undefined) await symlink(artifacts, join(home, 'data', 'artifacts'))
  return home
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
  'devices are updated and disabled at two broker processes, of which one is killed and one stopped',
  async () => {
    await using stack = new AsyncDisposableStack()
    const { server } = await openServer(stack)
    const site = await openSite(server)
    const agents = stack.use(createAgents(server, site))
    for (let n = 0; n < 6; n++) await agents.powerUp(`MANY-${n}`)
    const connected = async (devices: number) =>
      await eventually(async () => {
        const metrics = await ask(server, '/metrics')
        return metrics.includes(`\nfleetseal_mqtt_connections ${devices}\n`) || undefined
      })
    await connected(6)

    const rollout = await update(site)
    const [first = 0, second = 0] = brokerPids(server)
    process.kill(first, 'SIGKILL')
    await allSucceed(site, rollout, 6)
    await eventually(() => brokerPids(server)[2])
    expect(server.output()).toContain('a broker process ended; starting it again')
    await isDisabled(site, agents, 0)
    process.kill(second, 'SIGTERM')
    await isDisabled(site, agents, 1)
    await connected(4)
    await eventually(() => brokerPids(server)[3])
    expect(server.output()).toMatch(new RegExp(`"pid":${second},.*"msg":"stopped"`))
    expect(JSON.parse(await ask(server, '/readyz'))).toMatchObject({
      status: 'ready',
      brokers: { wanted: 2, running: 2 },
    })
    expect(await ask(server, '/api/v1/doctor')).toContain('2 of 2 broker processes take devices')
    const metrics = await ask(server, '/metrics')
    expect(metrics).toContain('\nfleetseal_broker_restarts_total 2\n')
    expect(metrics).toContain('\nfleetseal_broker_processes 2\n')
  },
  limitMs,
)

test(
  'broker processes end with their parent, killed or stopped, and others get no part of its port',
  async () => {
    await using stack = new AsyncDisposableStack()
    const { server } = await openServer(stack)
    const before = brokerPids(server)
    await server.kill()
    // Not waited for: the next one does, for the ports.
    await server.restart()
    const after = brokerPids(server).slice(2)
    expect(after).toHaveLength(2)
    await eventually(() => !before.some(isAlive) || undefined)
    const stray = startServer({
      DATABASE_URL: await createEmptyDatabase(),
      FLEETSEAL_BROKERS: '1',
      FLEETSEAL_MQTT_PORT: String(server.ports.mqtt),
    })
    await expect(stray).rejects.toThrow(`Port ${server.ports.mqtt} (127.0.0.1) is in use`)
    expect(await server.stop()).toBe(0)
    expect(after.filter(isAlive)).toEqual([])
  },
  limitMs,
)

test(
  'a broker joins with the key and nothing else, and is refused without it, with another and without an installation',
  async () => {
    await using stack = new AsyncDisposableStack()
    const database = stack.use(await createTestDatabase())
    if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
    const DATABASE_URL = database.url
    const api = stack.use(await startServer({ DATABASE_URL, FLEETSEAL_ROLE: 'api' }))
    const kek = await readFile(join(api.dataDir, 'kek'))
    const metricsPort = await freePort()
    const start = async (home: string, url: string) => {
      stack.defer(async () => await rm(home, { recursive: true, force: true }))
      return await startServer({
        DATABASE_URL: url,
        FLEETSEAL_ROLE: 'broker',
        FLEETSEAL_DATA_DIR: home,
        FLEETSEAL_PUBLIC_PORT: String(api.ports.public),
        FLEETSEAL_METRICS_PORT: String(metricsPort),
      })
    }
    const refused: [Buffer | undefined, string, string][] = [
      [undefined, DATABASE_URL, 'copy that of the installation there'],
      [randomBytes(32), DATABASE_URL, 'another key-encryption key'],
      [kek, await createEmptyDatabase(), 'not of this version yet'],
    ]
    for (const [key, url, why] of refused)
      await expect(start(await joining(key), url)).rejects.toThrow(why)

    const home = await joining(kek, join(api.dataDir, 'artifacts'))
    const broker = stack.use(await start(home, DATABASE_URL))
    await expect(readFile(join(broker.dataDir, 'admin-api-key'))).rejects.toThrow('ENOENT')
    const site = await openSite(api)
    const { mqtt: mqttPort, device: devicePort } = broker.ports
    const agents = stack.use(createAgents(api, site, { mqttPort, devicePort }))
    for (let n = 0; n < 2; n++) await agents.powerUp(`APART-${n}`)
    await allSucceed(site, await update(site), 2)
    await isDisabled(site, agents, 0)

    const at = `http://127.0.0.1:${metricsPort}`
    expect((await fetch(`${at}/readyz`)).status).toBe(200)
    expect((await fetch(`${at}/metrics`)).status).toBe(401)
    const token = (await readFile(join(broker.dataDir, 'metrics-token'), 'utf8')).trim()
    const metrics = await fetch(`${at}/metrics`, { headers: { Authorization: `Bearer ${token}` } })
    expect(await metrics.text()).toMatch(/^fleetseal_mqtt_connections 1$/m)
  },
  limitMs,
)

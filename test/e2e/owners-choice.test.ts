import { randomBytes } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { createOperator, type Operator } from '../../demo/fleetseal.ts'
import { DeviceAgent } from '../../device-sim/agent.ts'
import { enrollDevice, type Enrollment } from '../../device-sim/enroll.ts'
import { handChoice } from '../../device-sim/inbox.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  hardwareId,
  model,
  openSite,
  publishRelease,
  type Site,
  startRollout,
} from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

let database: DatabaseHandle
let server: RunningServer
let site: Site
const agents: DeviceAgent[] = []

beforeAll(async () => {
  database = await createTestDatabase()
  if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  server = await startServer({ DATABASE_URL: database.url })
  site = await openSite(server)
})
afterAll(async () => {
  await Promise.all(agents.map(async (agent) => await agent.stop()))
  await server[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

const command = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 60_000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within a minute: ${holds.toString()}`)
    await sleep(50)
  }
}

/** What a maker does; its owner opts out before anything is offered. */
async function enrollment(
  serial: string,
  { managed = false, group = 'lab' } = {},
): Promise<Enrollment> {
  const profile = `of-${serial.toLowerCase()}`
  const create = ['enrollment', 'create', profile, '--group', group, '--replaceable', 'on']
  await command(...create, ...(managed ? ['--managed'] : []))
  const { token } = await command<{ token: string }>('enrollment', 'token', profile)
  const dir = join(server.dataDir, '..', 'devices', serial)
  return {
    dir,
    root: await readFile(server.ca, 'utf8'),
    imageRoot: site.imageRoot,
    directorRoot: site.directorRoot,
    profile,
    token,
    config: {
      format: 1,
      serverHost: 'localhost',
      devicePort: server.ports.device,
      mqttPort: server.ports.mqtt,
      model,
      hardwareIds: [hardwareId],
      components: { main: { version: '1.0.0', build: 100, svn: 1 } },
      serialNumber: serial,
      allowEvaluation: true,
      helloRetryMs: 2_000,
      reconnectMaxMs: 500,
      managed,
    },
  }
}

async function powerUp(dir: string): Promise<DeviceAgent> {
  const agent = new DeviceAgent({ dir })
  agents.push(agent)
  await agent.start()
  await until(() => agent.status()?.connected === true)
  return agent
}

/** Somebody else with a key of their own. */
async function colleague(name: string): Promise<Operator> {
  const { secret } = await command<{ secret: string }>(
    'api-key',
    'create',
    name,
    '--role',
    'operator',
  )
  const file = join(server.dataDir, '..', `${name}.key`)
  await writeFile(file, secret, { mode: 0o600 })
  const address = `https://localhost:${server.ports.api}`
  return createOperator(
    { FLEETSEAL_SERVER: address, FLEETSEAL_API_KEY: file, FLEETSEAL_CA: server.ca },
    () => {},
  )
}

const shown = async (serial: string) =>
  await command<{ updateOptOut: boolean; managed: boolean }>('device', 'show', serial)

test('95 and 97: an opt-out binds on a consumer device whoever says what; a managed one follows two approvers', async () => {
  const consumer = await enrollment('OWN-1')
  const managed = await enrollment('OWN-2', { managed: true })
  const running: Record<string, DeviceAgent> = {}
  for (const one of [consumer, managed]) {
    await enrollDevice(one)
    await handChoice(one.dir, { choice: 'optOut', onlyThis: false })
    running[one.dir] = await powerUp(one.dir)
  }
  await until(
    async () => (await shown('OWN-1')).updateOptOut && (await shown('OWN-2')).updateOptOut,
  )
  expect((await shown('OWN-1')).managed).toBe(false)
  expect((await shown('OWN-2')).managed).toBe(true)

  const image = randomBytes(50_000)
  const fix = { version: '1.0.1', build: 101, image, metadataVersion: 1 }
  const rollout = await startRollout(site, await publishRelease(site, fix))
  type Row = { id: string; deviceId: string; state: string }
  const rows = async () => await command<Row[]>('rollout', 'deployments', rollout)
  await until(async () => (await rows()).filter(({ state }) => state === 'opted_out').length === 2)
  const deploymentOf = async (dir: string) =>
    (await rows()).find(({ deviceId }) => deviceId === running[dir]?.deviceId)?.id ?? ''

  const asked = ['--reason', 'The worm spreads', '--until', '1h']
  const ofConsumer = await deploymentOf(consumer.dir)
  await expect(command('device', 'override', ofConsumer, ...asked)).rejects.toThrow(
    /The owner of this device decides/,
  )
  const ofManaged = await deploymentOf(managed.dir)
  const { id } = await command<{ id: string }>('device', 'override', ofManaged, ...asked)
  await expect(command('device', 'approve-override', id)).rejects.toThrow(/others do/)
  const [first, second] = [await colleague('first'), await colleague('second')]
  await first.fleetseal('device', 'approve-override', id)
  await second.fleetseal('device', 'approve-override', id)
  // It was woken; a hint may be lost, and a device that comes back hears of it in any case.
  await running[managed.dir]?.stop()
  await running[managed.dir]?.start()
  await until(async () => (await rows()).some(({ state }) => state === 'succeeded'))
  expect(running[managed.dir]?.status()?.installed[0]?.version).toBe('1.0.1')
  expect(running[consumer.dir]?.status()?.installed[0]?.version).toBe('1.0.0')
  const states = new Map((await rows()).map(({ deviceId, state }) => [deviceId, state]))
  expect(states.get(running[consumer.dir]?.deviceId ?? '')).toBe('opted_out')
  // The owner's switch is where they left it.
  expect((await shown('OWN-2')).updateOptOut).toBe(true)
  const list = await command<{ choice: string; version: string; textSha256: string }[]>(
    'device',
    'choices',
    'OWN-1',
  )
  expect(list.at(-1)).toMatchObject({ choice: 'optOut', version: '1.0.1' })
  expect(list.at(-1)?.textSha256).toMatch(/^[0-9a-f]{64}$/)
})

test('92 an opt-out outlives the server that knew of it, and another enrollment; opted in, it installs', async () => {
  await command('group', 'create', 'own-3')
  const consumer = await enrollment('OWN-3', { group: 'own-3' })
  const image = randomBytes(50_000)
  const fix = { version: '1.0.2', build: 102, image, metadataVersion: 2 }
  await startRollout(site, await publishRelease(site, fix), 'own-3')
  await enrollDevice(consumer)
  await handChoice(consumer.dir, { choice: 'optOut', onlyThis: false })
  const before = await powerUp(consumer.dir)
  await until(async () => (await shown('OWN-3')).updateOptOut)
  await before.stop()
  // The server was set up anew and knows nothing; the device gets another certificate.
  await database.db
    .updateTable('device')
    .set({ update_opt_out: false })
    .where('id', '=', before.deviceId)
    .execute()
  await rm(join(consumer.dir, 'identity.pem'))
  await enrollDevice(consumer)
  const after = await powerUp(consumer.dir)
  await until(async () => (await shown('OWN-3')).updateOptOut)
  await until(() => after.status()?.task?.state === 'opted_out')
  expect(after.status()?.installed[0]?.version).toBe('1.0.0')
  await handChoice(consumer.dir, { choice: 'optIn', onlyThis: false })
  await until(() => after.status()?.installed[0]?.version === '1.0.2')
})

test('the rules of a model are set from the command line, and the reason is asked for', async () => {
  const set = async (...options: string[]) =>
    await command<{ policy: Record<string, unknown> }>('model', 'set-policy', model, ...options)
  await expect(set('--applicability', 'industrial')).rejects.toThrow(/needs a justification/)
  const because = ['--justification', 'Runs a press; a restart stops the line.']
  const { policy } = await set(
    '--applicability',
    'industrial',
    ...because,
    '--quiet',
    '22:00-06:00',
  )
  expect(policy).toMatchObject({ autoSecurity: false, quiet: ['22:00-06:00'] })
  expect((await set('--postpone', '24,3,72,12')).policy).toMatchObject({
    quiet: ['22:00-06:00'],
    postpone: { security: { eachH: 24, maxCount: 3, totalH: 72, graceH: 12 } },
  })
  const back = await set(
    '--applicability',
    'applicable',
    '--quiet',
    'none',
    '--postpone',
    'default',
  )
  expect(back.policy).toMatchObject({ autoSecurity: true, quiet: [], postpone: {} })
})

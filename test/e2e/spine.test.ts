import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { DeviceAgent } from '../../device-sim/agent.ts'
import type { Behavior } from '../../device-sim/behavior.ts'
import type { DeviceConfigInput } from '../../device-sim/config.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import { pinsOf } from '../../device-sim/pins.ts'
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
import { forgeDirector, otherBytes, unknownImage } from '../support/stolen-server.ts'

let database: DatabaseHandle
let server: RunningServer
let site: Site
const agents: DeviceAgent[] = []
let metadataVersion = 0
let build = 100

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

interface Device {
  serial: string
  dir: string
  agent: DeviceAgent
}

async function powerUp(
  serial: string,
  behavior: Behavior = {},
  more: Partial<DeviceConfigInput> = {},
): Promise<Device> {
  const dir = join(server.dataDir, '..', 'devices', serial)
  await enrollDevice({
    dir,
    root: await readFile(server.ca, 'utf8'),
    imageRoot: site.imageRoot,
    directorRoot: site.directorRoot,
    profile: site.profile,
    token: site.token,
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
      ...more,
    },
  })
  const agent = new DeviceAgent({ dir, behavior })
  agents.push(agent)
  await agent.start()
  await until(() => agent.status()?.connected === true)
  return { serial, dir, agent }
}

async function until(holds: () => boolean | Promise<boolean>, limitMs = 30_000): Promise<void> {
  const end = Date.now() + limitMs
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${holds.toString()}`)
    await sleep(25)
  }
}

const version = ({ agent }: Device) => agent.status()?.installed[0]?.version
const command = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)

async function newGroup(name: string, ...devices: Device[]): Promise<string> {
  await command('group', 'create', name)
  for (const { serial } of devices) await command('group', 'add', name, serial)
  return name
}

async function release(
  more: { class?: 'security' | 'feature' } = {},
): Promise<{ id: string; version: string }> {
  const image = randomBytes(300_000)
  build += 1
  metadataVersion += 1
  const name = `2.0.${build}`
  return {
    id: await publishRelease(site, {
      version: name,
      build,
      svn: 1,
      image,
      metadataVersion,
      ...more,
    }),
    version: name,
  }
}

const stateOn = async ({ serial }: Device) =>
  (await command<{ state: string }>('device', 'show', serial)).state
const deploymentsOf = async (rollout: string) =>
  await command<{ serialNumber: string; state: string; code: string | null }[]>(
    'rollout',
    'deployments',
    rollout,
  )

describe('an update', () => {
  test('reaches the device, which proves that it runs', async () => {
    const device = await powerUp('E2E-1')
    const group = await newGroup('e2e-1', device)
    const made = await release()
    const rollout = await startRollout(site, made.id, group)
    await until(() => version(device) === made.version)
    await until(
      async () =>
        (await command<{ state: string }>('rollout', 'show', rollout)).state === 'completed',
    )
    expect(await deploymentsOf(rollout)).toMatchObject([
      { serialNumber: 'E2E-1', state: 'succeeded' },
    ])
  })

  test('reaches a device without a JSON parser, with the keys its firmware pins', async () => {
    const publicPart = await readFile(join(site.keys, 'public.json'), 'utf8')
    const pins = pinsOf({ directorRoot: site.directorRoot, publicPart })
    const device = await powerUp('E2E-P', {}, { profile: 'constrained', pins })
    const group = await newGroup('e2e-p', device)
    for (const made of [await release(), await release()]) {
      const rollout = await startRollout(site, made.id, group)
      await until(() => version(device) === made.version, 80_000)
      await until(
        async () =>
          (await command<{ state: string }>('rollout', 'show', rollout)).state === 'completed',
        80_000,
      )
      expect((await deploymentsOf(rollout)).map(({ state }) => state)).toEqual(['succeeded'])
    }
  })

  test('that damages itself in the slot is refused, and the reason reaches the server', async () => {
    const device = await powerUp('E2E-2', { corruptSlot: true })
    const group = await newGroup('e2e-2', device)
    const made = await release()
    const rollout = await startRollout(site, made.id, group)
    await until(async () => (await deploymentsOf(rollout))[0]?.code === 'hash')
    expect(version(device)).toBe('1.0.0')
  })

  test('whose self-test fails is rolled back by the device itself', async () => {
    const device = await powerUp('E2E-3', { failHealth: true })
    const group = await newGroup('e2e-3', device)
    const made = await release()
    const rollout = await startRollout(site, made.id, group)
    await until(async () => (await deploymentsOf(rollout))[0]?.state === 'rolled_back')
    expect(version(device)).toBe('1.0.0')
  })

  test('reaches a device that was away when it comes back', async () => {
    const device = await powerUp('E2E-4')
    const group = await newGroup('e2e-4', device)
    await device.agent.stop()
    const made = await release()
    const rollout = await startRollout(site, made.id, group)
    await sleep(1_000)
    expect(await deploymentsOf(rollout)).toEqual([])
    await device.agent.start()
    await until(() => version(device) === made.version)
  })
})

/** Whoever owns the server owns its database and its online keys, and can make the director say anything. */
describe('a stolen server', () => {
  test.each([
    ['bytes other than those that were signed offline', 'mix-and-match', otherBytes],
    ['an image that nobody signed offline', 'arbitrary', unknownImage],
  ])('that names %s is refused, and the server is told why', async (_what, code, forge) => {
    const device = await powerUp(`E2E-${code}`)
    const group = await newGroup(`e2e-${code}`, device)
    // The owner is asked first, which leaves the time to forge.
    const made = await release({ class: 'feature' })
    const rollout = await startRollout(site, made.id, group)
    await until(async () => (await deploymentsOf(rollout))[0]?.state === 'offered')
    await device.agent.stop()
    await forgeDirector({ server, db: database.db, deviceId: device.agent.deviceId, forge })
    await device.agent.start()
    await until(async () => (await deploymentsOf(rollout))[0]?.state === 'failed_final')
    expect((await deploymentsOf(rollout))[0]?.code).toBe(code)
    expect(version(device)).toBe('1.0.0')
  })
})

describe('an incident', () => {
  test('disabling ends the connection within a second and keeps the device out; enabling brings it back', async () => {
    const device = await powerUp('E2E-5')
    const gone = new Promise<number>((resolve) =>
      device.agent.once('disconnected', () => resolve(Date.now())),
    )
    const at = Date.now()
    await command('device', 'disable', device.serial, '--reason', 'looks odd')
    expect((await gone) - at).toBeLessThan(1_000)
    await sleep(1_500)
    expect(device.agent.status()?.connected).toBe(false)
    expect(await stateOn(device)).toBe('disabled')
    await command('device', 'enable', device.serial, '--reason', 'was nothing')
    await until(() => device.agent.status()?.connected === true)
    expect(await stateOn(device)).toBe('active')
  })

  test('disabling a group cuts off its devices and nobody else; enabling brings them back', async () => {
    const inside = [await powerUp('E2E-6'), await powerUp('E2E-7')]
    const outside = await powerUp('E2E-8')
    const group = await newGroup('e2e-6', ...inside)
    await command('group', 'disable', group, '--reason', 'worm')
    await until(() => inside.every(({ agent }) => agent.status()?.connected === false), 1_000)
    await sleep(1_500)
    expect(inside.map(({ agent }) => agent.status()?.connected)).toEqual([false, false])
    expect(outside.agent.status()?.connected).toBe(true)
    await command('group', 'enable', group, '--reason', 'cleaned')
    await until(() => inside.every(({ agent }) => agent.status()?.connected === true))
  })

  test('a revoked device stays out for good, also over a restart of the server', async () => {
    const device = await powerUp('E2E-9')
    await command('device', 'revoke', device.serial, '--reason', 'stolen')
    await until(() => device.agent.status()?.connected === false, 1_000)
    await expect(command('device', 'enable', device.serial, '--reason', 'try')).rejects.toThrow(
      'illegal-transition',
    )
    expect(await server.stop()).toBe(0)
    await server.restart()
    const others = agents.filter((agent) => agent !== device.agent && agent.status() !== undefined)
    await until(() => others.every((agent) => agent.status()?.connected === true))
    await sleep(1_000)
    expect(device.agent.status()?.connected).toBe(false)
    expect(await stateOn(device)).toBe('revoked')
  })
})

test('no device opened a port', async () => {
  const listening = process.getActiveResourcesInfo().filter((name) => name === 'TCPServerWrap')
  expect(listening).toEqual([])
})

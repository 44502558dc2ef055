import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

import { DeviceAgent } from '../../../device-sim/agent.ts'
import type { Behavior } from '../../../device-sim/behavior.ts'
import type { DeviceConfigInput } from '../../../device-sim/config.ts'
import { enrollDevice } from '../../../device-sim/enroll.ts'
import { DeviceServer } from '../../support/device-server.ts'
import { deviceId, World } from '../../support/tuf-fixture.ts'

let dir: string
let server: DeviceServer
let agents: DeviceAgent[]
const image = Buffer.from('the new firmware '.repeat(40_000))

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'fleetseal-device-'))
  server = await DeviceServer.start(worldOf(image))
  server.addArtifact(image)
  agents = []
})

afterEach(async () => {
  for (const agent of agents) await agent.stop()
  await server[Symbol.asyncDispose]()
  await rm(dir, { recursive: true, force: true })
})

function worldOf(content: Buffer): World {
  const world = new World({ now: new Date(Math.floor(Date.now() / 1000) * 1000) })
  world.want(world.addBuild({ content: content.toString() }))
  world.publishDelegations()
  world.publishFirmware()
  world.publishWanted()
  return world
}

async function enroll(config: Partial<DeviceConfigInput> = {}): Promise<string> {
  return await enrollDevice({
    dir,
    root: server.rootPem,
    imageRoot: server.world.image.roots[0] ?? '',
    directorRoot: server.world.director.roots[0] ?? '',
    profile: 'plant',
    token: 'secret',
    config: {
      format: 1,
      serverHost: 'localhost',
      ...server.ports,
      model: 'gate-2',
      hardwareIds: ['gate-2-r3'],
      components: {
        main: { version: '2.4.0', build: 400, svn: 41 },
        radio: { version: '1.0.0', build: 205, svn: 0 },
      },
      serialNumber: 'SN-7',
      reconnectMaxMs: 500,
      ...config,
    },
  })
}

async function run(behavior: Behavior = {}): Promise<DeviceAgent> {
  const log = process.env['DEVICE_LOG'] === undefined ? {} : { log: console.log }
  const agent = new DeviceAgent({ dir, behavior, ...log })
  agents.push(agent)
  await agent.start()
  return agent
}

function states(): string[] {
  return server.reports.filter(({ progress = 0 }) => progress === 0).map(({ state }) => state)
}

const untilIt = { timeout: 20_000, interval: 20 }

describe('an honest update', () => {
  test('is verified, downloaded, installed, proven and reported', async () => {
    expect(await enroll()).toBe(deviceId)
    const agent = await run()
    await vi.waitFor(() => expect(states()).toContain('succeeded'), untilIt)
    expect(states()).toEqual([
      'offered',
      'accepted',
      'downloading',
      'verified',
      'installing',
      'installed',
      'rebooting',
      'testing',
      'succeeded',
    ])
    const main = agent.status()?.installed.find(({ component }) => component === 'main')
    expect(main).toMatchObject({ version: '2.4.1', build: 412 })
    const [first, second] = server.hellos
    expect(second?.bootId).not.toBe(first?.bootId)
    expect(server.hellos.at(-1)?.installed).toContainEqual(main)
    expect(server.reports.at(-1)).toMatchObject({ sha256: main?.sha256 })
  })

  test('leaves nothing in the directory that others can read', async () => {
    await enroll()
    expect((await stat(dir)).mode & 0o777).toBe(0o700)
    for (const name of await readdir(dir)) {
      expect((await stat(join(dir, name))).mode & 0o077, name).toBe(0)
    }
  })
})

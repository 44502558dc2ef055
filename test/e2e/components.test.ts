import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { DeviceAgent } from '../../device-sim/agent.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { hardwareId, model, openSite, type Site } from '../support/operator.ts'
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
}, 180_000)
afterAll(async () => {
  await Promise.all(agents.map(async (agent) => await agent.stop()))
  await server[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

const zero = { version: '0', build: 0, svn: 0 }
const command = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)

/** A device of several components that can be configured. */
async function powerUp(serial: string, delivery: 'https' | 'mqtt'): Promise<DeviceAgent> {
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
      components: {
        main: { version: '1.0.0', build: 100, svn: 1 },
        radio: { version: '1.0.0', build: 100, svn: 1 },
        config: zero,
        cfgschema: zero,
        overrides: zero,
      },
      serialNumber: serial,
      allowEvaluation: true,
      delivery,
      helloRetryMs: 2_000,
      reconnectMaxMs: 500,
    },
  })
  const agent = new DeviceAgent({ dir })
  agents.push(agent)
  await agent.start()
  await until(() => agent.status()?.connected === true)
  return agent
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 120_000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within two minutes: ${holds.toString()}`)
    await sleep(50)
  }
}

const versions: Record<string, number> = {}

/** Signs the waiting draft of a role. */
async function sign(role: string, first = 1): Promise<void> {
  versions[role] = (versions[role] ?? first - 1) + 1
  await command('sign', role, '--keys', site.keys, '--confirm', `${versions[role]}`)
}

async function publish(name: string, content: Buffer | string, options: string[]): Promise<string> {
  const file = join(site.keys, '..', `${name.replaceAll('/', '-')}.bin`)
  await writeFile(file, content)
  const artifact = await command<{ id: string }>('artifact', 'upload', file)
  const facts = ['--artifact', artifact.id, ...options]
  const { id } = await command<{ id: string }>('release', 'create', `${model}/${name}`, ...facts)
  await command('release', 'submit', id)
  const isFirmware = !name.startsWith('c')
  if (!isFirmware && versions[`cfg-${model}`] === undefined) await sign('targets', 3)
  await sign(isFirmware ? `fw-${model}` : `cfg-${model}`)
  await command('release', 'publish', id)
  return id
}

async function rollOut(release: string, ...more: string[]): Promise<string> {
  const what = ['--release', release, '--group', 'lab', '--start', ...more]
  return (await command<{ id: string }>('rollout', 'create', `of ${release}`, ...what)).id
}

const versionsOn = (agent: DeviceAgent, ...names: string[]) =>
  names.map(
    (name) => agent.status()?.installed.find((one) => one.component === name)?.version ?? '',
  )

async function completed(rollout: string): Promise<void> {
  await until(
    async () =>
      (await command<{ state: string }>('rollout', 'show', rollout)).state === 'completed',
  )
}

describe('a device of several components', () => {
  test('35 installs images that belong together, by HTTPS and by MQTT; settings follow, and the log shows it all', async () => {
    const devices = [await powerUp('SET-1', 'https'), await powerUp('SET-2', 'mqtt')]
    const facts = ['--class', 'config', '--svn', '1']
    const radio = await publish('radio/1.0.1', randomBytes(90_000), ['--build', '200', ...facts])
    const main = await publish('main/1.0.1', randomBytes(120_000), [
      '--build',
      '200',
      '--requires',
      'radio=200',
      ...facts,
    ])
    const head = await command<{ size: number; root: string }>('log', 'show')
    await completed(await rollOut(main, '--with', radio))
    for (const agent of devices) {
      expect(versionsOn(agent, 'main', 'radio')).toEqual(['1.0.1', '1.0.1'])
    }

    await completed(
      await rollOut(
        await publish('config/1', '{ "interval": 60 }\n', ['--build', '1', '--class', 'config']),
      ),
    )
    for (const agent of devices) expect(await agent.settings()).toEqual({ interval: 60 })
    await publish(
      'cfgschema/1',
      '{"type":"object","properties":{"interval":{"type":"integer","minimum":10,"maximum":3600}}}',
      ['--build', '1', '--class', 'config'],
    )
    const file = join(site.keys, '..', 'own.json')
    await writeFile(file, '{"interval":5}')
    await expect(command('settings', 'set', 'SET-1', file)).rejects.toThrow('not within 10 to 3600')
    await writeFile(file, '{"interval":120}')
    await command('settings', 'set', 'SET-1', file)
    const stateOf = async () =>
      (await command<{ state: string }[]>('settings', 'list', 'SET-1'))[0]?.state
    await until(async () => (await stateOf()) === 'applied')
    expect(await Promise.all(devices.map(async (one) => await one.settings()))).toEqual([
      { interval: 120 },
      { interval: 60 },
    ])

    const seen = join(site.keys, '..', 'seen.json')
    await command('log', 'verify', '--seen', seen)
    await command('log', 'consistency', `${head.size}:${head.root}`)
    const forked = `${head.size}:${'0'.repeat(64)}`
    await expect(command('log', 'consistency', forked)).rejects.toThrow('does not continue')
    await writeFile(seen, JSON.stringify({ ...head, root: '0'.repeat(64) }))
    await expect(command('log', 'verify', '--seen', seen)).rejects.toThrow('verified before')
    await command('log', 'export', join(site.keys, '..', 'log.jsonl'))
  }, 300_000)
})

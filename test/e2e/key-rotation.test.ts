import { randomBytes } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { DeviceAgent } from '../../device-sim/agent.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import { toInstant } from '../../pki/tuf/time.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { type OnlineKeys, onlineKeys } from '../../server/metadata/online-keys.ts'
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
import { forgeDirector, forgeTime, otherBytes } from '../support/stolen-server.ts'

/** The life of the keys of the update repositories (updates.md 3.4 and 3.5), with a real server and a real agent, hybrid. */
let database: DatabaseHandle
let server: RunningServer
let site: Site
let agent: DeviceAgent
let dir: string
let build = 100
const metadata = { version: 0 }

beforeAll(async () => {
  database = await createTestDatabase()
  if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  server = await startServer({ DATABASE_URL: database.url })
  site = await openSite(server, '--post-quantum')
  dir = join(server.dataDir, '..', 'devices', 'KEYS-1')
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
      components: { main: { version: '1.0.0', build, svn: 1 } },
      serialNumber: 'KEYS-1',
      allowEvaluation: true,
      helloRetryMs: 2_000,
      reconnectMaxMs: 500,
    },
  })
  agent = new DeviceAgent({ dir, behavior: {} })
  await agent.start()
  await until(() => agent.status()?.connected === true)
})
afterAll(async () => {
  await agent.stop()
  await server[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

async function until(holds: () => boolean | Promise<boolean>, limitMs = 60_000): Promise<void> {
  const end = Date.now() + limitMs
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${holds.toString()}`)
    await sleep(25)
  }
}

const command = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)
const sign = async (role: string, version: number) =>
  await command<{ state: string }>('sign', role, '--keys', site.keys, '--confirm', `${version}`)
const deployments = async (rollout: string) =>
  await command<{ state: string; code: string | null }[]>('rollout', 'deployments', rollout)
const refusals = async () =>
  (await command<{ facts: unknown }[]>('events', 'list', '--kind', 'update-refused')).map(
    ({ facts }) => ({ facts: JSON.stringify(facts) }),
  )
const installed = () => agent.status()?.installed[0]?.version

async function nextRelease(kind: 'security' | 'feature'): Promise<{ id: string; version: string }> {
  build += 1
  metadata.version += 1
  const version = `2.0.${build}`
  const image = randomBytes(20_000)
  const facts = { version, build, svn: 1, image, metadataVersion: metadata.version }
  return { version, id: await publishRelease(site, { ...facts, class: kind }) }
}

/** A security release, which installs itself. */
async function update(): Promise<void> {
  const { id, version } = await nextRelease('security')
  await startRollout(site, id, 'lab')
  await until(() => installed() === version)
}

/** A feature is offered to the owner first, which leaves the time to forge. */
async function offer(): Promise<string> {
  const { id } = await nextRelease('feature')
  const rollout = await startRollout(site, id, 'lab')
  await until(async () => (await deployments(rollout))[0]?.state === 'offered')
  return rollout
}

const openedKeys = async (): Promise<OnlineKeys> =>
  await onlineKeys({ db: database.db, kek: await readFile(join(server.dataDir, 'kek')) })

async function rotateOnline(repository: 'image' | 'director', version: number): Promise<void> {
  await command('sign', 'rotate-online', repository)
  const role = repository === 'director' ? 'director-root' : 'root'
  expect(await sign(role, version)).toMatchObject({ state: 'published' })
}

test('25 and 55 all online keys are stolen: the thief cannot install, and is left with nothing after two roots', async () => {
  await update()
  const stolen = await openedKeys()
  const rollout = await offer()
  await agent.stop()
  const { db } = database
  const { deviceId } = agent
  // Versions far ahead, signed by the right keys: the device has to take them.
  await forgeDirector({ server, db, deviceId, keys: stolen, ahead: 2 ** 31, forge: otherBytes })
  await agent.start()
  await until(async () => (await deployments(rollout))[0]?.code === 'mix-and-match')

  // The time, too: honest answers are older from now on, and the server does not sign that far ahead.
  await agent.stop()
  const ahead = toInstant(new Date(Date.now() + 300 * 86_400_000))
  await forgeTime({ dir, keys: stolen, at: ahead })
  await agent.start()
  await until(
    async () =>
      (await command<unknown[]>('events', 'list', '--kind', 'timestamp-ahead')).length > 0,
  )

  await rotateOnline('director', 2)
  await rotateOnline('image', 2)
  const before = installed()
  await update()
  expect(installed()).not.toBe(before)

  // What was stolen signs nothing that this device believes.
  await offer()
  const held = installed()
  await agent.stop()
  await forgeDirector({ server, db, deviceId, keys: stolen, ahead: 1, forge: () => undefined })
  await agent.start()
  await until(async () => (await refusals()).some(({ facts }) => facts.includes('arbitrary')))
  expect(installed()).toBe(held)
})

test('one root key is lost: another takes its place, and devices follow', async () => {
  for (const [role, lost, next, version] of [
    ['root', 'image-root-3', 'image-root-4', 3],
    ['director-root', 'director-root-3', 'director-root-4', 3],
  ] as const) {
    for (const half of ['', '.pq']) await rm(join(site.keys, `${lost}${half}.pem`))
    await command('sign', 'new-key', next, '--post-quantum', '--keys', site.keys)
    await command('sign', 'replace-key', role, lost, next, '--keys', site.keys)
    expect(await sign(role, version)).toMatchObject({ state: 'published' })
  }
  await update()
})

test('one targets key and one release key are stolen: they are replaced, and sign nothing any more', async () => {
  const keys = ['--keys', site.keys]
  const made = ['--post-quantum', ...keys]
  // Two of the keys that stay have to have signed what is published: all three did, but for the first targets.
  await command('sign', 'new-key', 'image-targets-4', ...made)
  await command('sign', 'replace-key', 'targets', 'image-targets-2', 'image-targets-4', ...keys)
  expect(await sign('root', 4)).toMatchObject({ state: 'published' })
  await command('sign', 'new-key', 'qa-2', ...made)
  await command('sign', 'replace-key', 'release', 'qa', 'qa-2', ...keys)
  expect(await sign('targets', 3)).toMatchObject({ state: 'published' })
  await update()
  await command('sign', 'draft', `fw-${model}`, '--renew', '--out', join(site.keys, 'draft.json'))
  const next = ['--confirm', `${metadata.version + 1}`, ...keys]
  const stolen = command('sign', `fw-${model}`, '--key', 'qa.pem', ...next)
  await expect(stolen).rejects.toThrow(`no key of fw-${model}`)
  expect(await command('sign', `fw-${model}`, ...next)).toMatchObject({ state: 'published' })
})

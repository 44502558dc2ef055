import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Updater } from 'tuf-js'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { rebuildRoot, rootSignersIn } from '../../pki/tuf/build.ts'
import { tufKeyOf } from '../../pki/tuf/keys.ts'
import { generatePqKey, isPqRequired, pqTufKeyOf } from '../../pki/tuf/post-quantum.ts'
import { readRoot } from '../../pki/tuf/read.ts'
import { isRootsOnly, takeRoots } from '../../pki/tuf/roots.ts'
import { artifactRouter } from '../../server/artifacts/device-router.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { forgetCurrent } from '../../server/metadata/current.ts'
import { tufRouter } from '../../server/metadata/device-router.ts'
import { createTestDatabase } from '../support/database.ts'
import { type DeviceListener, listenAsDevice } from '../support/device-listener.ts'
import { ReleaseWorld, type TestDevice } from '../support/release-world.ts'
import { makeKeys } from '../support/tuf-repository.ts'

/** A stock TUF client and our own verifier follow the live routes of a hybrid installation from root to root. */
let handle: DatabaseHandle
let world: ReleaseWorld
let listener: DeviceListener
let folder: string
let device: TestDevice

const repositories = ['image', 'director'] as const
type Repository = (typeof repositories)[number]
const path = 'fw/gate-2/2.4.1/main.bin'

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle, { hybrid: true })
  listener = await listenAsDevice(artifactRouter(world.ctx), tufRouter(world.ctx))
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-rotations-'))
  device = await world.device()
  listener.deviceId = device.id
  await world.deploy(device.id, await world.publishRelease())
})
afterAll(async () => {
  await listener[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

/** A client that goes on from what this folder holds. */
function clientOf(name: Repository, held: string): Updater {
  const metadataDir = join(folder, held)
  return new Updater({
    metadataDir,
    metadataBaseUrl: `${listener.url}/tuf/${name}`,
    targetDir: metadataDir,
    targetBaseUrl: `${listener.url}/tuf/targets`,
    config: { fetchRetries: 0 },
  })
}

async function follow(version: number): Promise<void> {
  forgetCurrent(world.ctx.db)
  // A device in the same second discards an equal timestamp.
  world.ctx.clock.advance({ seconds: 2 })
  for (const name of repositories) {
    const dir = await mkdtemp(join(folder, 'fresh-'))
    await writeFile(join(dir, 'root.json'), world.roots[name])
    for (const held of [name, dir.slice(folder.length + 1)]) {
      const client = clientOf(name, held)
      await client.refresh()
      expect(await client.getTargetInfo(path)).toMatchObject({ path })
      const root = JSON.parse(await readFile(join(folder, held, 'root.json'), 'utf8')) as {
        signed: { version: number }
      }
      expect(root.signed.version).toBe(version)
    }
  }
  const { targets, state } = await device.poll()
  expect(targets.map((target) => target.path)).toEqual([path])
  for (const name of repositories) {
    const root = readRoot((JSON.parse(state[name].root) as { signed: never }).signed)
    expect(root.version).toBe(version)
    expect(isPqRequired(root)).toBe(true)
  }
  const next = await fetch(`${listener.url}/tuf/image/${version + 1}.root.json`)
  expect(next.status).toBe(404)
}

const roles = { image: 'root', director: 'director-root' } as const
const holders = () => ({ image: world.keys.imageRoot, director: world.keys.directorRoot })

test('109 stock clients accept hybrid files, through three rotations of both roots', async () => {
  const { signed, ...envelope } = JSON.parse(world.roots.image) as Record<string, object>
  expect(Object.keys(envelope)).toEqual(['signatures', 'x-pq-signatures'])
  expect(Object.keys(signed ?? {})).toContain('x-pq-keys')
  for (const name of repositories) {
    await mkdir(join(folder, name))
    await writeFile(join(folder, name, 'root.json'), world.roots[name])
  }
  await follow(1)

  // The same, signed again.
  for (const name of repositories) {
    await world.call('POST', `/metadata/${roles[name]}/draft`, {})
    await publish(name)
  }
  await follow(2)

  // Other online keys.
  for (const name of repositories) {
    await world.call('POST', '/metadata/online-keys/rotation', { repository: name })
    await publish(name)
  }
  await follow(3)

  // Another root key in the place of the first.
  for (const name of repositories) await replaceFirstKey(name)
  await follow(4)
})

test('a device that missed all rotations gets the roots ahead of the rest, since together they fit no bundle', async () => {
  const late = await world.device()
  await world.deploy(late.id, await world.publishRelease({ version: '2.4.2', build: 413 }))
  forgetCurrent(world.ctx.db)
  const first = await late.ask('ab'.repeat(16))
  expect(first && isRootsOnly(first)).toBe(true)
  expect(JSON.stringify(first).length).toBeLessThanOrEqual(65_536)
  const { targets, state } = await late.poll()
  expect(targets[0]?.match.build).toBe(413)
  expect(readRoot((JSON.parse(state.image.root) as { signed: never }).signed).version).toBe(4)
  // The same roots once more are no answer.
  expect(() => takeRoots(state, { director: {}, image: first?.image ?? {} }, late.facts)).toThrow(
    expect.objectContaining({ code: 'freeze' }),
  )
})

async function publish(name: Repository): Promise<void> {
  // One half of the signatures is not enough, whichever keys they are of.
  const [first, second] = holders()[name].slice(-2)
  if (!first || !second) throw new Error('There are three')
  expect((await world.sign(roles[name], [first])).body).toMatchObject({
    state: 'draft',
    missing: [
      { scheme: 'ed25519', signatures: 1 },
      { scheme: 'ml-dsa', signatures: 1 },
      { scheme: 'ed25519', signatures: 1 },
      { scheme: 'ml-dsa', signatures: 1 },
    ],
  })
  expect((await world.sign(roles[name], [second])).body).toMatchObject({ state: 'published' })
}

async function replaceFirstKey(name: Repository): Promise<void> {
  const draft = await world.call('POST', `/metadata/${roles[name]}/draft`, {})
  const root = readRoot(JSON.parse(String(draft['signed'])) as never)
  const [fresh] = makeKeys(1)
  if (!fresh) throw new Error('There is one')
  world.halves.set(fresh, generatePqKey('ml-dsa-44'))
  const half = world.halves.get(fresh)
  const { root: before } = rootSignersIn(root)
  const signed = rebuildRoot(root, {
    version: root.version,
    expiresAt: new Date(root.expires),
    roles: {
      root: {
        keys: [...before.keys.slice(1), tufKeyOf(fresh)],
        threshold: 2,
        pq: {
          keys: [...(before.pq?.keys.slice(1) ?? []), ...(half ? [pqTufKeyOf(half)] : [])],
          threshold: 2,
        },
      },
    },
  })
  await world.call('POST', `/metadata/${roles[name]}/draft`, { signed: signed.toString() })
  await publish(name)
}

test('a hybrid draft with one half of its signatures is not published', async () => {
  const id = await world.draftRelease({ version: '2.4.3', build: 414 })
  await world.act(id, 'submit')
  const halves = new Map(world.halves)
  world.halves.clear()
  const classical = await world.sign('fw-gate-2', world.keys.release.slice(0, 2))
  expect(classical.body).toMatchObject({
    state: 'draft',
    missing: [{ keys: 'current', scheme: 'ml-dsa', signatures: 0, threshold: 2 }],
  })
  const refused = await world.act(id, 'publish')
  expect(refused.status).toBe(409)
  expect(refused.text).toContain('0 of 2 signatures (ml-dsa')
  for (const [key, half] of halves) world.halves.set(key, half)
  await world.sign('fw-gate-2', world.keys.release.slice(0, 2))
  expect((await world.act(id, 'publish')).status).toBe(200)
})

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Updater } from 'tuf-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { artifactRouter } from '../../server/artifacts/device-router.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { forgetCurrent } from '../../server/metadata/current.ts'
import { tufRouter } from '../../server/metadata/device-router.ts'
import { createTestDatabase } from '../support/database.ts'
import { type DeviceListener, listenAsDevice } from '../support/device-listener.ts'
import { ReleaseWorld, type TestDevice } from '../support/release-world.ts'

/** A stock TUF client against the routers that devices use (updates.md section 9). It has its own clock. */
let handle: DatabaseHandle
let world: ReleaseWorld
let listener: DeviceListener
let folder: string
let device: TestDevice

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle)
  listener = await listenAsDevice(artifactRouter(world.ctx), tufRouter(world.ctx))
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-tuf-js-'))
  device = await world.device()
  listener.deviceId = device.id
})
afterAll(async () => {
  await listener[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

/** A client that was made with root 1 and was never here. */
async function updater(name: 'image' | 'director'): Promise<Updater> {
  const metadataDir = await mkdtemp(join(folder, 'new-'))
  await writeFile(join(metadataDir, 'root.json'), world.roots[name])
  return new Updater({
    metadataDir,
    metadataBaseUrl: `${listener.url}/tuf/${name}`,
    targetDir: metadataDir,
    targetBaseUrl: `${listener.url}/tuf/targets`,
    config: { fetchRetries: 0 },
  })
}

const get = async (path: string) => await fetch(`${listener.url}/tuf/${path}`)

test('117: what is published verifies with tuf-js and with our own verifier, release after release', async () => {
  for (const [version, build] of [
    ['2.4.1', 412],
    ['2.4.2', 413],
    ['2.5.0', 500],
  ] as const) {
    const bytes = Buffer.from(`image ${version}`)
    const { id: artifactId } = await world.upload(bytes)
    const release = await world.publishRelease({ version, build, artifactId })
    forgetCurrent(world.ctx.db)
    await world.ctx.db
      .updateTable('deployment')
      .set({ state: 'succeeded' })
      .where('device_id', '=', device.id)
      .execute()
    await world.deploy(device.id, release)

    const path = `fw/gate-2/${version}/main.bin`
    const director = await updater('director')
    await director.refresh()
    const wanted = await director.getTargetInfo(path)
    const image = await updater('image')
    await image.refresh()
    const vouched = await image.getTargetInfo(path)
    if (!wanted || !vouched) throw new Error(`${path} is missing`)
    expect(vouched.hashes).toEqual(wanted.hashes)
    expect(vouched.custom['match']).toEqual(wanted.custom['match'])
    const file = await image.downloadTarget(vouched, join(folder, `image-${build}`))
    expect(await readFile(file)).toEqual(bytes)

    expect((await device.poll()).targets.map((target) => target.path)).toEqual([path])
    // A device in the same second discards an equal timestamp; the next second is another.
    world.ctx.clock.advance({ seconds: 2 })
  }
})

test('116: the root after the last one is not there, so that clients stop walking', async () => {
  for (const name of ['image', 'director']) {
    expect((await get(`${name}/1.root.json`)).status).toBe(200)
    expect((await get(`${name}/2.root.json`)).status).toBe(404)
  }
})

test('a client walks to the next roots', async () => {
  await world.call('POST', '/metadata/root/draft', {})
  await world.sign('root', world.keys.imageRoot.slice(0, 2))
  await world.call('POST', '/metadata/director-root/draft', {})
  await world.sign('director-root', world.keys.directorRoot.slice(0, 2))
  for (const name of ['image', 'director'] as const) {
    await (await updater(name)).refresh()
    expect((await get(`${name}/2.root.json`)).status).toBe(200)
  }
})

test('111: a half-signed file is not served; a published one is, for ever', async () => {
  const { items } = await world.call('GET', '/metadata')
  const role = items?.find((item) => item['role'] === 'fw-gate-2')
  const before = Number((role?.['published'] as { version: number } | undefined)?.version)
  const next = `image/${before + 1}.fw-gate-2.json`
  const id = await world.draftRelease({ version: '3.0.0', build: 600 })
  await world.act(id, 'submit')
  await world.sign('fw-gate-2', world.keys.release.slice(0, 1))
  expect((await get(next)).status).toBe(404)
  await world.sign('fw-gate-2', world.keys.release.slice(1, 2))
  expect((await get(next)).status).toBe(404)
  await world.act(id, 'publish')
  const served = await get(next)
  expect(served.headers.get('cache-control')).toContain('immutable')
  const { signatures } = (await served.json()) as { signatures: unknown[] }
  expect(signatures).toHaveLength(2)
  expect((await get(`image/${before}.fw-gate-2.json`)).status).toBe(200)
})

describe('names', () => {
  test('the timestamp is never kept; its nonce proves the time', async () => {
    const nonce = 'ab'.repeat(16)
    const reply = await get(`director/timestamp.json?nonce=${nonce}`)
    expect(reply.headers.get('cache-control')).toBe('no-store')
    expect((await reply.json()) as object).toMatchObject({ signed: { 'x-nonce': nonce } })
    expect((await get('director/timestamp.json?nonce=short')).status).toBe(400)
    expect((await get('image/timestamp.json')).headers.get('cache-control')).toBe('no-store')
  })

  test.each([
    'image/root.json',
    'image/1.timestamp.json',
    'image/0.root.json',
    'image/01.root.json',
    'image/1.nothing.json',
    'image/99999999999999999999.root.json',
    'image/1.%2e%2e%2froot.json',
    'director/1.fw-gate-2.json',
    'director/999.targets.json',
    'other/timestamp.json',
  ])('%s: 404', async (path) => {
    expect((await get(path)).status).toBe(404)
  })

  test('each device has a director of its own, and nobody has none', async () => {
    const mine = await (await get('director/timestamp.json')).text()
    const { signed } = JSON.parse(mine) as {
      signed: { meta: { 'snapshot.json': { version: number } } }
    }
    const { version } = signed.meta['snapshot.json']
    expect((await get(`director/${version}.snapshot.json`)).status).toBe(200)
    listener.deviceId = (await world.device()).id
    expect((await get(`director/${version}.snapshot.json`)).status).toBe(404)
    listener.deviceId = undefined
    expect((await get('director/timestamp.json')).status).toBe(401)
    expect((await get('image/timestamp.json')).status).toBe(401)
  })
})

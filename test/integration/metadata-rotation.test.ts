import { randomBytes } from 'node:crypto'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { rebuildRoot } from '../../pki/tuf/build.ts'
import { canonicalize } from '../../pki/tuf/canonical.ts'
import { encodeEnvelope, signBytes } from '../../pki/tuf/envelope.ts'
import { keyId } from '../../pki/tuf/keys.ts'
import { latestExpiry } from '../../pki/tuf/publish-check.ts'
import { readRoot } from '../../pki/tuf/read.ts'
import { toInstant } from '../../pki/tuf/time.ts'
import type { TrustedState } from '../../pki/tuf/types.ts'
import { verifyBundle } from '../../pki/tuf/verify.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { bundlesFor } from '../../server/director/service.ts'
import { forgetCurrent, requireCurrent } from '../../server/metadata/current.ts'
import { type OnlineKeys, onlineKeys } from '../../server/metadata/online-keys.ts'
import { signAgain } from '../../server/metadata/publish.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld, type TestDevice } from '../support/release-world.ts'
import { sha256 } from '../support/tuf-repository.ts'

let handle: DatabaseHandle
let world: ReleaseWorld
let device: TestDevice

beforeEach(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle)
  device = await world.device()
  await world.deploy(device.id, await world.publishRelease())
})
afterEach(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

type Repository = 'image' | 'director'
const roleOf = { image: 'root', director: 'director-root' } as const

/** A root that names other online keys, signed and published. */
async function rotate(repository: Repository, body: object = {}): Promise<void> {
  await world.call('POST', '/metadata/online-keys/rotation', { repository, ...body })
  const holders = repository === 'image' ? world.keys.imageRoot : world.keys.directorRoot
  const reply = await world.sign(roleOf[repository], holders.slice(0, 2))
  expect(reply.body).toMatchObject({ state: 'published', missing: [] })
  forgetCurrent(world.ctx.db)
}

const idsOf = (keys: OnlineKeys) => ({
  image: Object.values(keys.image).map(({ tufKey }) => keyId(tufKey)),
  director: Object.values(keys.director).map(({ tufKey }) => keyId(tufKey)),
})
const rootOf = (state: TrustedState, repository: Repository) =>
  readRoot((JSON.parse(state[repository].root) as { signed: never }).signed)
const versionIn = (text: string | undefined) =>
  (JSON.parse(text ?? '') as { signed: { version: number } }).signed.version

describe('online keys', () => {
  test.each(['image', 'director'] as const)(
    'of the %s repository change when the root that names the next ones is published, and not before',
    async (repository) => {
      const before = idsOf(await onlineKeys(world.ctx))
      const held = await device.poll()
      await world.call('POST', '/metadata/online-keys/rotation', { repository })
      expect(idsOf(await onlineKeys(world.ctx))).toEqual(before)
      expect((await device.poll()).targets).toHaveLength(1)

      await rotate(repository)
      const after = idsOf(await onlineKeys(world.ctx))
      const other = repository === 'image' ? 'director' : 'image'
      expect(after[other]).toEqual(before[other])
      expect(after[repository].filter((id) => before[repository].includes(id))).toEqual([])
      const { state, targets } = await device.poll()
      expect(targets).toHaveLength(1)
      expect(rootOf(state, repository).version).toBe(2)
      expect(rootOf(state, other).version).toBe(1)
      // Lazily, above what was there.
      const isSignedAnew = repository === 'director'
      expect(versionIn(state.director.targets) > versionIn(held.state.director.targets)).toBe(
        isSignedAnew,
      )
      // A new device walks from the first root.
      const fresh = await world.device()
      expect((await fresh.poll()).targets).toEqual([])
      // And it goes on: the next release, the next signing again.
      const id = await world.publishRelease({ version: '2.4.2', build: 413 })
      await world.deploy(fresh.id, id)
      expect((await fresh.poll()).targets[0]?.match.build).toBe(413)
      world.ctx.clock.advance({ seconds: 7 * 3600 })
      expect(
        await signAgain(world.ctx, await requireCurrent(world.ctx.db), { snapshot: true }),
      ).toBe(true)
      forgetCurrent(world.ctx.db)
      expect((await fresh.poll()).targets).toHaveLength(1)
    },
  )
})

test('a second process, that knew the keys before, answers with the ones after', async () => {
  const there = { ...world.ctx, db: handle.db }
  const ask = async () => {
    const nonce = randomBytes(16).toString('hex')
    const bundle = (await bundlesFor(there, [{ deviceId: device.id, nonce, have: {} }])).get(
      device.id,
    )
    if (!bundle) throw new Error('no answer')
    return verifyBundle(device.state, bundle, device.facts, { nonce })
  }
  expect((await ask()).targets).toHaveLength(1)
  await rotate('director')
  await rotate('image')
  // It may be a second behind, and then says what was said before; never half of each.
  expect((await ask()).targets).toHaveLength(1)
  forgetCurrent(there.db)
  expect(rootOf((await ask()).state, 'director').version).toBe(2)
})

describe('the next online keys', () => {
  test('asked again, the draft stays; asked for others, another one', async () => {
    const ask = async (body: object = {}) =>
      await world.call('POST', '/metadata/online-keys/rotation', { repository: 'image', ...body })
    const first = await ask()
    expect(await ask()).toEqual(first)
    const one = await ask({ roles: ['timestamp'] })
    expect(one['signedSha256']).toBe(first['signedSha256'])
    const other = await ask({ again: true })
    expect(other).toMatchObject({ version: 2 })
    expect(other['signedSha256']).not.toBe(first['signedSha256'])
    await world.sign('root', world.keys.imageRoot.slice(0, 1))
    const late = await world.api.call('POST', '/metadata/online-keys/rotation', {
      repository: 'image',
      again: true,
    })
    expect(late).toMatchObject({ status: 409 })
    expect(late.text).toContain('sign and publish it first')
    const done = await world.sign('root', world.keys.imageRoot.slice(1, 2))
    expect(done.body).toMatchObject({ state: 'published' })
  })

  test('one role alone; none that is not online there', async () => {
    const before = await onlineKeys(world.ctx)
    await rotate('director', { roles: ['timestamp'] })
    const after = await onlineKeys(world.ctx)
    expect(after.director.targets.tufKey).toEqual(before.director.targets.tufKey)
    expect(after.director.timestamp.tufKey).not.toEqual(before.director.timestamp.tufKey)
    expect((await device.poll()).targets).toHaveLength(1)
    const wrong = { repository: 'image', roles: ['targets'] }
    const reply = await world.api.call('POST', '/metadata/online-keys/rotation', wrong)
    expect(reply).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
    expect(reply.text).toContain('snapshot, timestamp')
  })

  test('a waiting key of one role is no key of another', async () => {
    const draft = await world.call('POST', '/metadata/online-keys/rotation', {
      repository: 'image',
    })
    const root = readRoot(JSON.parse(String(draft['signed'])) as never)
    const { timestamp, snapshot } = root.roles
    const keysOf = ({ keyids }: { keyids: string[] }) => ({
      keys: keyids.flatMap((id) => root.keys[id] ?? []),
      threshold: 1,
    })
    const swapped = rebuildRoot(root, {
      version: 2,
      expiresAt: latestExpiry('root', world.ctx.clock.now()),
      roles: { snapshot: keysOf(timestamp), timestamp: keysOf(snapshot) },
    })
    await world.call('POST', '/metadata/root/draft', { signed: swapped.toString() })
    const reply = await world.sign('root', world.keys.imageRoot.slice(0, 2))
    expect(reply).toMatchObject({ status: 409 })
    expect(reply.text).toContain("is not this server's key")
  })
})

/** Signs with keys that somebody stole. */
function seal(signed: unknown, key: { privateKey: Parameters<typeof signBytes>[1] }): string {
  const bytes = canonicalize(signed)
  return encodeEnvelope(bytes, [signBytes(bytes, key.privateKey)]).toString()
}

/** The thief answers the device once: versions of 2^31, and the time as far ahead as the roots last. */
async function fastForward(keys: OnlineKeys): Promise<void> {
  const nonce = randomBytes(16).toString('hex')
  const bundle = await device.ask(nonce, { director: {}, image: {} })
  if (!bundle) throw new Error('no answer')
  const far = 2 ** 31
  const ahead = toInstant(new Date(world.ctx.clock.now().getTime() + 300 * 86_400_000))
  const change = (text: string | undefined, more: object) => ({
    ...(JSON.parse(text ?? '') as { signed: Record<string, unknown> }).signed,
    ...more,
  })
  const [snapshotFile = '', snapshot] =
    Object.entries(bundle.director).find(([name]) => name.includes('snapshot')) ?? []
  const [, targets] =
    Object.entries(bundle.director).find(([name]) => name.includes('targets')) ?? []
  const expires = '2036-11-01T00:00:00Z'
  const forgedTargets = seal(change(targets, { expires, version: far }), keys.director.targets)
  const listed = (text: string) => ({
    hashes: { sha256: sha256(text) },
    length: text.length,
    version: far,
  })
  const meta = { 'targets.json': listed(forgedTargets) }
  const forgedSnapshot = seal(
    change(snapshot, { expires, meta, version: far }),
    keys.director.snapshot,
  )
  expect(snapshotFile).not.toBe('')
  const forgedTimestamp = seal(
    change(bundle.director['timestamp.json'], {
      expires,
      meta: { 'snapshot.json': listed(forgedSnapshot) },
      version: far,
      'x-time': ahead,
    }),
    keys.director.timestamp,
  )
  const forged = {
    director: {
      'timestamp.json': forgedTimestamp,
      [`${far}.snapshot.json`]: forgedSnapshot,
      [`${far}.targets.json`]: forgedTargets,
    },
    image: {},
  }
  try {
    device.state = verifyBundle(device.state, forged, device.facts, { nonce }).state
  } catch (error) {
    expect(error).toMatchObject({ code: 'freeze' })
    device.state = (error as { state: TrustedState }).state
  }
  expect(device.state.timeAt).toBe(ahead)
}

describe('all online keys stolen', () => {
  test('25 and 55 versions and time far ahead: no update until the keys are replaced, then all is well', async () => {
    const stolen = await onlineKeys(world.ctx)
    await device.poll()
    await fastForward(stolen)
    // The server does not sign that far ahead.
    await expect(device.poll()).rejects.toThrow('did not answer')
    await rotate('director')
    await rotate('image')
    const { targets, time } = await device.poll()
    expect(targets).toHaveLength(1)
    expect(time).toBe(toInstant(world.ctx.clock.now()))
    // What the thief has is worth nothing now.
    const nonce = randomBytes(16).toString('hex')
    const answer = await device.ask(nonce)
    const timestamp = (JSON.parse(answer?.director['timestamp.json'] ?? '') as { signed: object })
      .signed
    const forged = {
      director: {
        ...answer?.director,
        'timestamp.json': seal(timestamp, stolen.director.timestamp),
      },
      image: answer?.image ?? {},
    }
    expect(() => verifyBundle(device.state, forged, device.facts, { nonce })).toThrow(
      expect.objectContaining({ code: 'arbitrary' }),
    )
    expect((await device.poll()).targets).toHaveLength(1)
  })
})

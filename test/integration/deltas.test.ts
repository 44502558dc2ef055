import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { type DeltaLimits, deltaWorkers } from '../../server/deltas/workers.ts'
import { forgetForms } from '../../server/director/forms.ts'
import { mayDownload } from '../../server/director/service.ts'
import { decodeDeltaBlock, parseDeltaIndex } from '../../server/protocol/delta-z1.ts'
import { createTestDatabase } from '../support/database.ts'
import { noise, sha256Of, twoImages } from '../support/delta-fixture.ts'
import { ReleaseWorld, type TestDevice } from '../support/release-world.ts'

let handle: DatabaseHandle
let world: ReleaseWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

/** Half of it compresses. */
function images(seed: string) {
  const { old, next } = twoImages(90_000)
  const rest = Buffer.from(seed.repeat(90_000 / seed.length))
  return { old: Buffer.concat([rest, old]), next: Buffer.concat([rest, next]) }
}

let build = 500
/** Published, with an image that devices have and one they are to get. */
async function releaseOf({ old, next }: { old: Buffer; next: Buffer }) {
  await world.upload(old)
  const { id: artifactId } = await world.upload(next)
  build += 1
  return await world.publishRelease({ version: `5.${build}.0`, build, artifactId })
}

async function deviceWith(image: Buffer, release: string): Promise<TestDevice> {
  const device = await world.device()
  await runs(device, image)
  await world.deploy(device.id, release)
  return device
}

async function runs(device: TestDevice, image: Buffer): Promise<void> {
  const installed = [{ component: 'main', version: '1', build: 1, svn: 0, sha256: sha256Of(image) }]
  await world.ctx.db
    .updateTable('device')
    .set({ installed: JSON.stringify(installed) })
    .where('id', '=', device.id)
    .execute()
}

const signal = new AbortController().signal
async function work(limits: Partial<DeltaLimits> = {}): Promise<void> {
  for (const worker of deltaWorkers(world.ctx, { planAgainMs: 0, ...limits })) {
    world.ctx.clock.advance({ seconds: 1 })
    for (let more = true; more;) more = await worker.step(signal)
  }
  forgetForms(world.ctx.db)
}

async function formsOf(target: Buffer) {
  return await world.ctx.db
    .selectFrom('delivery_form')
    .selectAll()
    .where('target_sha256', '=', sha256Of(target))
    .orderBy('method')
    .orderBy('id')
    .execute()
}

async function bytesOf(sha256: string): Promise<Buffer> {
  await using artifact = await world.storage.open(sha256)
  if (!artifact) throw new Error('Not in the storage')
  const bytes = Buffer.alloc(artifact.size)
  await artifact.read(bytes, 0, bytes.length)
  return bytes
}

async function deliveryFor(device: TestDevice) {
  const { targets } = await device.poll()
  return targets[0]?.delivery ?? []
}

const { old, next } = images('first ')
let device: TestDevice
let release: string
beforeAll(async () => {
  release = await releaseOf({ old, next })
  device = await deviceWith(old, release)
  expect((await deliveryFor(device)).map(({ m }) => m)).toEqual(['full'])
  await work()
})

describe('what is made of a published release', () => {
  test('is a delta from what devices run, then zstd, then the image; the device may have each', async () => {
    const delivery = await deliveryFor(device)
    expect(delivery.map(({ m }) => m)).toEqual(['delta-z1', 'zstd', 'full'])
    expect(delivery[0]?.base).toBe(sha256Of(old))
    const lengths = delivery.map(({ length }) => length)
    expect(lengths).toEqual(lengths.toSorted((a, b) => a - b))
    for (const { sha256 } of delivery) {
      expect(await mayDownload(world.ctx.db, device.id, sha256)).toBe(true)
    }
    expect(lengths[0]).toBeLessThan((lengths[1] ?? 0) * 0.6)
  })

  test('is the image again, by the promises that the director signs', async () => {
    const [delta] = await deliveryFor(device)
    if (!delta?.index) throw new Error('No delta')
    const bytes = await bytesOf(delta.sha256)
    const { blocks } = parseDeltaIndex(bytes.subarray(0, delta.index.length), {
      length: delta.length,
      index: delta.index,
      base: { sha256: sha256Of(old), length: old.length },
      target: { sha256: sha256Of(next), length: next.length },
    })
    const rebuilt = blocks.map(({ windowOffset, windowLength, frameAt, frameLength, ...block }) =>
      decodeDeltaBlock(
        bytes.subarray(frameAt, frameAt + frameLength),
        old.subarray(windowOffset, windowOffset + windowLength),
        block,
      ),
    )
    expect(Buffer.concat(rebuilt).equals(next)).toBe(true)
  })

  test('is not named to a device that runs something else', async () => {
    const other = await deviceWith(noise('other', 10), release)
    expect((await deliveryFor(other)).map(({ m }) => m)).toEqual(['zstd', 'full'])
    const [delta] = await deliveryFor(device)
    expect(await mayDownload(world.ctx.db, other.id, delta?.sha256 ?? '')).toBe(false)
  })
})

describe('what was made', () => {
  test('is signed for once: not again when the device runs the new image', async () => {
    await deliveryFor(device)
    const versions = async () =>
      await world.ctx.db
        .selectFrom('director_state')
        .select('targets_version')
        .where('device_id', '=', device.id)
        .executeTakeFirstOrThrow()
    const before = await versions()
    await runs(device, next)
    await deliveryFor(device)
    expect(await versions()).toEqual(before)
    await runs(device, old)
  })

  test('is shown with the release, a page at a time; of no other release, and of none', async () => {
    const { items = [] } = await world.call('GET', `/releases/${release}/delivery`)
    const made = items.map(({ method, base, state }) => [method, base, state])
    expect(made).toContainEqual(['delta-z1', sha256Of(old), 'made'])
    expect(made).toContainEqual(['zstd', null, 'made'])
    const first = await world.call('GET', `/releases/${release}/delivery?limit=1`)
    const rest = await world.call(
      'GET',
      `/releases/${release}/delivery?limit=1&cursor=${String(first['nextCursor'])}`,
    )
    expect([first.items, rest.items].flat()).toEqual(items)
    expect(rest['nextCursor']).toBeNull()
    const { status } = await world.api.call('GET', `/releases/${device.id}/delivery`)
    expect(status).toBe(404)
  })

  test('is made once, and audited', async () => {
    const before = await formsOf(next)
    await work()
    expect(await formsOf(next)).toEqual(before)
    const audits = await world.ctx.db
      .selectFrom('audit_event')
      .select('action')
      .where(
        'subject',
        'in',
        before.map(({ id }) => id),
      )
      .execute()
    expect(audits.map(({ action }) => action)).toEqual(['delivery.make', 'delivery.make'])
  })
})

/** What ran before is gone, and nobody is on the way to anything. */
async function startAnew(): Promise<void> {
  const { db } = world.ctx
  await db.updateTable('device').set({ state: 'disabled' }).execute()
  await db.updateTable('rollout').set({ state: 'completed' }).execute()
}

describe('nothing is made', () => {
  beforeEach(startAnew)

  test('of an image that is small', async () => {
    const small = { old: noise('a', 60_000), next: noise('b', 60_000) }
    await deviceWith(small.old, await releaseOf(small))
    await work()
    expect(await formsOf(small.next)).toEqual([])
  })

  test('from an image that no device runs', async () => {
    const { old, next } = images('second ')
    await releaseOf({ old, next })
    await work()
    expect((await formsOf(next)).map(({ method }) => method)).toEqual(['zstd'])
  })

  test('that is not shorter, and the reason is kept', async () => {
    const unlike = { old: noise('c', 100_000), next: noise('d', 100_000) }
    const device = await deviceWith(unlike.old, await releaseOf(unlike))
    await work()
    const forms = await formsOf(unlike.next)
    expect(forms.map(({ state, reason }) => [state, reason])).toEqual([
      ['refused', 'not-smaller'],
      ['refused', 'not-smaller'],
    ])
    expect((await deliveryFor(device)).map(({ m }) => m)).toEqual(['full'])
  })

  test('that costs more than it may, and the device gets the image', async () => {
    const pair = images('third ')
    const device = await deviceWith(pair.old, await releaseOf(pair))
    await work({ maxCpuMs: -1 })
    expect((await formsOf(pair.next)).map(({ reason }) => reason)).toEqual([
      'cpu-limit',
      'cpu-limit',
    ])
    expect((await deliveryFor(device)).map(({ m }) => m)).toEqual(['full'])
  })

  test('from more images than are worth it: of those that most devices run', async () => {
    const { old, next } = images('fourth ')
    const release = await releaseOf({ old, next })
    const rare = [images('rare 1 ').next, images('rare 2 ').next]
    for (const image of [...rare, old]) {
      await world.upload(image)
      await deviceWith(image, release)
    }
    await deviceWith(old, release)
    await work({ basesAtOnce: 1 })
    const deltas = (await formsOf(next)).filter(({ method }) => method === 'delta-z1')
    expect(deltas.map(({ base_sha256 }) => base_sha256)).toEqual([sha256Of(old)])
    // The next look finds that room for one is left.
    await work({ basesAtOnce: 4, maxBases: 2 })
    const later = (await formsOf(next)).filter(({ method }) => method === 'delta-z1')
    expect(later).toHaveLength(2)
  })
})

function steps() {
  const [plan, make] = deltaWorkers(world.ctx, { planAgainMs: 0, leaseMs: 60_000 })
  if (!plan || !make) throw new Error('There are two')
  return { plan, make }
}

describe('the queue', () => {
  beforeEach(startAnew)

  test('gives each form to one of two processes', async () => {
    const pair = images('fifth ')
    await deviceWith(pair.old, await releaseOf(pair))
    const [one, two] = [steps(), steps()]
    world.ctx.clock.advance({ seconds: 1 })
    await one.plan.step(signal)
    const drain = async ({ make }: typeof one) => {
      while (await make.step(signal));
    }
    await Promise.all([drain(one), drain(two)])
    const forms = await formsOf(pair.next)
    expect(forms.map(({ state, attempts }) => [state, attempts])).toEqual([
      ['made', 1],
      ['made', 1],
    ])
  })

  test('gives what a killed process held to another, when its time is up', async () => {
    const pair = images('sixth ')
    await deviceWith(pair.old, await releaseOf(pair))
    const { plan, make } = steps()
    world.ctx.clock.advance({ seconds: 1 })
    await plan.step(signal)
    const held = { lease: crypto.randomUUID(), attempts: 1 }
    const until = new Date(world.ctx.clock.now().getTime() + 60_000)
    await world.ctx.db
      .updateTable('delivery_form')
      .set({ ...held, leased_until: until })
      .where('target_sha256', '=', sha256Of(pair.next))
      .where('method', '=', 'zstd')
      .execute()
    expect(await make.step(signal)).toBe(false)
    world.ctx.clock.advance({ seconds: 61 })
    while (await make.step(signal));
    const forms = await formsOf(pair.next)
    expect(forms.map(({ state, attempts }) => [state, attempts])).toEqual([
      ['made', 1],
      ['made', 2],
    ])
  })
})

describe('what does not end', () => {
  beforeEach(startAnew)

  test('takes no try when it was stopped, and three when it fails', async () => {
    const pair = images('seventh ')
    await deviceWith(pair.old, await releaseOf(pair))
    const { plan, make } = steps()
    world.ctx.clock.advance({ seconds: 1 })
    await plan.step(signal)
    await make.step(AbortSignal.abort())
    expect((await formsOf(pair.next)).map(({ attempts }) => attempts)).toEqual([0, 0])
    const { open } = world.storage
    world.storage.open = async () => undefined
    for (let attempt = 1; attempt <= 3; attempt++) {
      world.ctx.clock.advance({ seconds: 31 })
      await expect(make.step(signal)).rejects.toThrow('not in the storage')
    }
    world.storage.open = open
    world.ctx.clock.advance({ seconds: 31 })
    expect(await make.step(signal)).toBe(true)
    // The delta is made all the same.
    while (await make.step(signal));
    expect((await formsOf(pair.next)).map(({ state, reason }) => [state, reason])).toEqual([
      ['made', null],
      ['refused', 'failed'],
    ])
  })
})

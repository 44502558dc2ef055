import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { mayDownload } from '../../server/director/service.ts'
import { decodeDeltaBlock, parseDeltaIndex } from '../../server/protocol/delta-z1.ts'
import { createTestDatabase } from '../support/database.ts'
import { noise, sha256Of } from '../support/delta-fixture.ts'
import { DeltaWorld, images } from '../support/delta-world.ts'
import type { TestDevice } from '../support/release-world.ts'

let handle: DatabaseHandle
let world: DeltaWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await DeltaWorld.open(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const { old, next } = images('first ')
let device: TestDevice
let release: string
beforeAll(async () => {
  release = await world.releaseOf({ old, next })
  device = await world.deviceWith(old, release)
  expect((await world.deliveryFor(device)).map(({ m }) => m)).toEqual(['full'])
  await world.work()
})

describe('what is made of a published release', () => {
  test('is a delta from what devices run, then zstd, then the image; the device may have each', async () => {
    const delivery = await world.deliveryFor(device)
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
    const [delta] = await world.deliveryFor(device)
    if (!delta?.index) throw new Error('No delta')
    const bytes = await world.bytesOf(delta.sha256)
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
    const other = await world.deviceWith(noise('other', 10), release)
    expect((await world.deliveryFor(other)).map(({ m }) => m)).toEqual(['zstd', 'full'])
    const [delta] = await world.deliveryFor(device)
    expect(await mayDownload(world.ctx.db, other.id, delta?.sha256 ?? '')).toBe(false)
  })
})

describe('what was made', () => {
  test('is signed for once: not again when the device runs the new image', async () => {
    await world.deliveryFor(device)
    const versions = async () =>
      await world.ctx.db
        .selectFrom('director_state')
        .select('targets_version')
        .where('device_id', '=', device.id)
        .executeTakeFirstOrThrow()
    const before = await versions()
    await world.runs(device, next)
    await world.deliveryFor(device)
    expect(await versions()).toEqual(before)
    await world.runs(device, old)
  })

  test('is shown with the release, a page at a time; of no other release, and of none', async () => {
    const { items = [] } = await world.releases.call('GET', `/releases/${release}/delivery`)
    const made = items.map(({ method, base, state }) => [method, base, state])
    expect(made).toContainEqual(['delta-z1', sha256Of(old), 'made'])
    expect(made).toContainEqual(['zstd', null, 'made'])
    const first = await world.releases.call('GET', `/releases/${release}/delivery?limit=1`)
    const rest = await world.releases.call(
      'GET',
      `/releases/${release}/delivery?limit=1&cursor=${String(first['nextCursor'])}`,
    )
    expect([first.items, rest.items].flat()).toEqual(items)
    expect(rest['nextCursor']).toBeNull()
    const { status } = await world.releases.api.call('GET', `/releases/${device.id}/delivery`)
    expect(status).toBe(404)
  })

  test('is made once, and audited', async () => {
    const before = await world.formsOf(next)
    await world.work()
    expect(await world.formsOf(next)).toEqual(before)
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

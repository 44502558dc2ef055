import { randomUUID } from 'node:crypto'

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { noise, sha256Of } from '../support/delta-fixture.ts'
import { DeltaWorld, images } from '../support/delta-world.ts'

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

const signal = new AbortController().signal

describe('nothing is made', () => {
  beforeEach(() => world.startAnew())

  test('of an image that is small', async () => {
    const small = { old: noise('a', 60_000), next: noise('b', 60_000) }
    await world.deviceWith(small.old, await world.releaseOf(small))
    await world.work()
    expect(await world.formsOf(small.next)).toEqual([])
  })

  test('from an image that no device runs', async () => {
    const { old, next } = images('second ')
    await world.releaseOf({ old, next })
    await world.work()
    expect((await world.formsOf(next)).map(({ method }) => method)).toEqual(['zstd'])
  })

  test('before it is time to look again, but for a rollout that was started since', async () => {
    const pair = images('eighth ')
    const target = await world.releaseOf(pair)
    const aDay = { planAgainMs: 86_400_000 }
    await world.work(aDay)
    const methods = async () => (await world.formsOf(pair.next)).map(({ method }) => method)
    const { id } = await world.deviceWith(pair.old, target)
    await world.work(aDay)
    expect(await methods()).toEqual(['zstd'])
    const { db, clock } = world.ctx
    const started = { started_at: clock.now() }
    const mine = db.selectFrom('deployment').select('rollout_id').where('device_id', '=', id)
    await db.updateTable('rollout').set(started).where('id', 'in', mine).execute()
    await world.work(aDay)
    expect(await methods()).toEqual(['delta-z1', 'zstd'])
  })
})

describe('nothing is named', () => {
  beforeEach(() => world.startAnew())

  test('that is not shorter, and the reason is kept', async () => {
    const unlike = { old: noise('c', 100_000), next: noise('d', 100_000) }
    const device = await world.deviceWith(unlike.old, await world.releaseOf(unlike))
    await world.work()
    const forms = await world.formsOf(unlike.next)
    expect(forms.map(({ state, reason }) => [state, reason])).toEqual([
      ['refused', 'not-smaller'],
      ['refused', 'not-smaller'],
    ])
    expect((await world.deliveryFor(device)).map(({ m }) => m)).toEqual(['full'])
  })

  test('that costs more than it may, and the device gets the image', async () => {
    const pair = images('third ')
    const device = await world.deviceWith(pair.old, await world.releaseOf(pair))
    await world.work({ maxCpuMs: -1 })
    expect((await world.formsOf(pair.next)).map(({ reason }) => reason)).toEqual([
      'cpu-limit',
      'cpu-limit',
    ])
    expect((await world.deliveryFor(device)).map(({ m }) => m)).toEqual(['full'])
  })

  test('from more images than are worth it: of those that most devices run', async () => {
    const { old, next } = images('fourth ')
    const release = await world.releaseOf({ old, next })
    const rare = [images('rare 1 ').next, images('rare 2 ').next]
    for (const image of [...rare, old]) {
      await world.releases.upload(image)
      await world.deviceWith(image, release)
    }
    await world.deviceWith(old, release)
    await world.work({ basesAtOnce: 1 })
    const deltas = (await world.formsOf(next)).filter(({ method }) => method === 'delta-z1')
    expect(deltas.map(({ base_sha256 }) => base_sha256)).toEqual([sha256Of(old)])
    // The next look finds that room for one is left.
    await world.work({ basesAtOnce: 4, maxBases: 2 })
    const later = (await world.formsOf(next)).filter(({ method }) => method === 'delta-z1')
    expect(later).toHaveLength(2)
  })
})

describe('the queue', () => {
  beforeEach(() => world.startAnew())

  test('gives each form to one of two processes', async () => {
    const pair = images('fifth ')
    await world.deviceWith(pair.old, await world.releaseOf(pair))
    const [one, two] = [world.steps(), world.steps()]
    world.ctx.clock.advance({ seconds: 1 })
    await one.plan.step(signal)
    const drain = async ({ make }: typeof one) => {
      while (await make.step(signal));
    }
    await Promise.all([drain(one), drain(two)])
    const forms = await world.formsOf(pair.next)
    expect(forms.map(({ state, attempts }) => [state, attempts])).toEqual([
      ['made', 1],
      ['made', 1],
    ])
  })

  test('gives what a killed process held to another, when its time is up', async () => {
    const pair = images('sixth ')
    await world.deviceWith(pair.old, await world.releaseOf(pair))
    const { plan, make } = world.steps()
    world.ctx.clock.advance({ seconds: 1 })
    await plan.step(signal)
    const held = { lease: randomUUID(), attempts: 1 }
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
    const forms = await world.formsOf(pair.next)
    expect(forms.map(({ state, attempts }) => [state, attempts])).toEqual([
      ['made', 1],
      ['made', 2],
    ])
  })
})

describe('what does not end', () => {
  beforeEach(() => world.startAnew())

  test('takes no try when it was stopped, and three when it fails', async () => {
    const pair = images('seventh ')
    await world.deviceWith(pair.old, await world.releaseOf(pair))
    const { plan, make } = world.steps()
    world.ctx.clock.advance({ seconds: 1 })
    await plan.step(signal)
    await make.step(AbortSignal.abort())
    expect((await world.formsOf(pair.next)).map(({ attempts }) => attempts)).toEqual([0, 0])
    const { open } = world.releases.storage
    world.releases.storage.open = async () => undefined
    for (let attempt = 1; attempt <= 3; attempt++) {
      world.ctx.clock.advance({ seconds: 31 })
      await expect(make.step(signal)).rejects.toThrow('not in the storage')
    }
    world.releases.storage.open = open
    world.ctx.clock.advance({ seconds: 31 })
    expect(await make.step(signal)).toBe(true)
    // The delta is made all the same.
    while (await make.step(signal));
    expect((await world.formsOf(pair.next)).map(({ state, reason }) => [state, reason])).toEqual([
      ['made', null],
      ['refused', 'failed'],
    ])
  })
})

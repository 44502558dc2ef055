import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { encodeBundle } from '../../pki/tuf/bundle.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { bundlesFor, mayDownload } from '../../server/director/service.ts'
import { flushEvents } from '../../server/events/record.ts'
import { forgetCurrent } from '../../server/metadata/current.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'

const nonce = '3acbfb9006873f983fc4e78a5cbeb303'

let world: ReleaseWorld
let handle: DatabaseHandle
let release: string
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle)
  release = await world.publishRelease()
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const stateOf = async (id: string) =>
  await world.ctx.db
    .selectFrom('director_state')
    .selectAll()
    .where('device_id', '=', id)
    .executeTakeFirst()

async function eventsOf(deviceId: string) {
  await flushEvents(world.ctx)
  return await world.ctx.db
    .selectFrom('security_event')
    .select(['kind', 'severity'])
    .where('device_id', '=', deviceId)
    .execute()
}

const seconds = () => Math.floor(world.ctx.clock.now().getTime() / 1000)

async function offered() {
  const device = await world.device()
  await world.deploy(device.id, release)
  return device
}

describe('a bundle', () => {
  test('carries one target in one message below 8 kB', async () => {
    const device = await offered()
    const bundle = await device.ask(nonce)
    if (!bundle) throw new Error('no answer')
    expect(encodeBundle(bundle).length).toBeLessThan(8_000)
    expect(Object.keys(bundle.director).sort()).toEqual([
      '1.snapshot.json',
      '1.targets.json',
      'timestamp.json',
    ])
  })

  test('names the device also when there is nothing to install', async () => {
    const device = await world.device()
    const { targets } = await device.poll()
    expect(targets).toEqual([])
    expect((await stateOf(device.id))?.targets).toContain(device.id)
    expect(await mayDownload(world.ctx.db, device.id, 'a'.repeat(64))).toBe(false)
  })

  test('is for the device that asked; another refuses it, this one takes it', async () => {
    const [one, two] = [await offered(), await offered()]
    const bundle = await one.ask(nonce)
    if (!bundle) throw new Error('no answer')
    const steal = async () => {
      two.ask = async () => bundle
      return await two.poll()
    }
    await expect(steal()).rejects.toMatchObject({ name: 'VerificationError' })
    expect((await one.poll()).targets).toHaveLength(1)
  })

  test('holds only what the device lacks', async () => {
    const device = await offered()
    await device.poll()
    const again = await device.ask(nonce)
    expect(Object.keys(again?.director ?? {})).toEqual(['timestamp.json'])
    expect(again?.image).toEqual({})
  })

  test('is not made for a disabled device', async () => {
    const device = await world.device({ state: 'disabled' })
    expect(await device.ask(nonce)).toBeUndefined()
  })

  test('carries the policy of class and device', async () => {
    const managed = await world.device({ managed: true })
    await world.deploy(managed.id, release)
    expect((await managed.poll()).policy).toMatchObject({
      class: 'security',
      optOut: 'managed',
      postpone: { eachH: 72, graceH: 48, maxCount: 5, totalH: 336 },
      advisory: { id: 'FS-2026-017', severity: 'high', url: '/a/2026-017' },
    })
  })
})

describe('releases that are installed together', () => {
  const installed = (radio: number) =>
    JSON.stringify([
      { component: 'main', version: '1', build: 400, svn: 0, sha256: '0'.repeat(64) },
      { component: 'radio', version: '1', build: radio, svn: 0, sha256: '0'.repeat(64) },
    ])

  async function pair(radio: number) {
    const device = await world.device()
    const deployment = await world.deploy(device.id, release)
    await world.ctx.db
      .updateTable('device')
      .set({ installed: installed(radio) })
      .where('id', '=', device.id)
      .execute()
    await world.ctx.db
      .insertInto('rollout_companion')
      .columns(['rollout_id', 'release_id', 'component'])
      .expression((eb) =>
        eb
          .selectFrom('deployment')
          .where('id', '=', deployment)
          .select((one) => [
            'rollout_id',
            one.val(companion).$castTo<string>().as('release_id'),
            one.val('radio').as('component'),
          ]),
      )
      .execute()
    device.facts = {
      ...device.facts,
      components: { main: { build: 400, svn: 0 }, radio: { build: radio, svn: 0 } },
    }
    return device
  }

  let companion = ''
  beforeAll(async () => {
    const given = { component: 'radio', version: '1.1.0', build: 206, class: 'feature', fixes: [] }
    companion = await world.publishRelease(given)
  })

  test('35 come as one bundle that says which of them it is about', async () => {
    const device = await pair(205)
    const { targets, policy, state } = await device.poll()
    expect(targets.map(({ component }) => component).sort()).toEqual(['main', 'radio'])
    expect(state.director.targets).toContain('"x-main":"main"')
    // A feature comes along: the owner is asked.
    expect(policy).toMatchObject({ class: 'feature', auto: false })
    for (const { sha256 } of targets) {
      expect(await mayDownload(world.ctx.db, device.id, sha256)).toBe(true)
    }
  })

  test('leave out what runs already', async () => {
    const { targets, policy } = await (await pair(206)).poll()
    expect(targets.map(({ component }) => component)).toEqual(['main'])
    expect(policy).toMatchObject({ class: 'security', auto: true })
  })
})

describe('rights', () => {
  test('to bytes follow the targets: given with an offer, taken when it ends', async () => {
    const { sha256 } = await world.ctx.db
      .selectFrom('release')
      .innerJoin('artifact', 'artifact.id', 'release.artifact_id')
      .select('sha256')
      .where('release.id', '=', release)
      .executeTakeFirstOrThrow()
    const device = await offered()
    const other = await world.device()
    await device.poll()
    await other.poll()
    expect(await mayDownload(world.ctx.db, device.id, sha256)).toBe(true)
    expect(await mayDownload(world.ctx.db, other.id, sha256)).toBe(false)
    await world.ctx.db
      .updateTable('deployment')
      .set({ state: 'succeeded' })
      .where('device_id', '=', device.id)
      .execute()
    expect((await device.poll()).targets).toEqual([])
    expect(await mayDownload(world.ctx.db, device.id, sha256)).toBe(false)
  })
})

describe('statements', () => {
  test('118: polls with nothing new write nothing, whatever their number', async () => {
    const devices = await Promise.all(Array.from({ length: 20 }, offered))
    for (const device of devices) await device.poll()
    const counted = async () =>
      (
        await world.ctx.db
          .selectFrom(['audit_event'])
          .select(({ fn }) => fn.countAll<number>().as('n'))
          .executeTakeFirstOrThrow()
      ).n
    const before = [await counted(), await stateOf(devices[0]?.id ?? '')]
    const requests = devices.map(({ id }) => ({
      deviceId: id,
      nonce,
      have: { director: { 'targets.json': 1, 'snapshot.json': 1 } },
    }))
    // The published files are remembered for a second: read them now, so that the second does not end below.
    forgetCurrent(world.ctx.db)
    await bundlesFor(world.ctx, requests)
    const statements = await world.counter.during(async () => {
      const bundles = await bundlesFor(world.ctx, requests)
      expect(bundles.size).toBe(20)
    })
    expect(statements).toBe(1)
    expect([await counted(), await stateOf(devices[0]?.id ?? '')]).toEqual(before)
  })

  test('many first answers take as many statements as one', async () => {
    const count = async (n: number) => {
      const devices = await Promise.all(Array.from({ length: n }, offered))
      const requests = devices.map(({ id }) => ({ deviceId: id, nonce, have: {} }))
      forgetCurrent(world.ctx.db)
      return await world.counter.during(() => bundlesFor(world.ctx, requests))
    }
    const one = await count(1)
    expect(await count(25)).toBe(one)
  })

  test('every signed targets file is audited once', async () => {
    const device = await offered()
    await Promise.all([device.ask(nonce), device.ask(nonce), device.ask(nonce)])
    const rows = await world.ctx.db
      .selectFrom('audit_event')
      .select('facts')
      .where('subject', '=', device.id)
      .where('action', '=', 'director.sign')
      .execute()
    expect(rows).toHaveLength(1)
  })
})

describe('time and versions', () => {
  test('56: two answers in one second both verify', async () => {
    const device = await offered()
    await device.poll()
    await device.poll()
    const { time } = await device.poll()
    expect(Date.parse(time) / 1000).toBe(seconds())
  })

  test('57: a process whose clock is behind answers above what the device holds', async () => {
    const device = await offered()
    const bundle = await device.ask(nonce, {
      director: { 'timestamp.json': seconds() + 60 },
      image: {},
    })
    const signed = JSON.parse(bundle?.director['timestamp.json'] ?? '') as {
      signed: { version: number }
    }
    expect(signed.signed.version).toBe(seconds() + 61)
    expect(await eventsOf(device.id)).toEqual([])
  })

  test('58: a device more than 300 s ahead gets no answer, and there is an alarm, once', async () => {
    const device = await offered()
    const have = { director: { 'timestamp.json': seconds() + 301 }, image: {} }
    expect(await device.ask(nonce, have)).toBeUndefined()
    expect(await device.ask(nonce, have)).toBeUndefined()
    expect(await eventsOf(device.id)).toEqual([{ kind: 'timestamp-ahead', severity: 'critical' }])
  })

  test('a device that always claims more is signed for a few times, and not for each message', async () => {
    const device = await offered()
    const answers: boolean[] = []
    for (let version = 10; version < 30; version += 2) {
      const have = { director: { 'targets.json': version, 'snapshot.json': version }, image: {} }
      answers.push((await device.ask(nonce, have)) !== undefined)
    }
    expect(answers.filter(Boolean)).toHaveLength(5)
    expect(answers[0]).toBe(true)
    // Who claims no more than was signed is answered as ever.
    expect(await device.ask(nonce)).toBeDefined()
  })

  test('versions beyond reason are not counted up from', async () => {
    const device = await offered()
    const have = { director: { 'targets.json': 2 ** 53 - 1 }, image: {} }
    expect(await device.ask(nonce, have)).toBeUndefined()
  })

  test('what grows old is signed again with a higher version', async () => {
    const device = await offered()
    await device.poll()
    world.ctx.clock.advance({ seconds: 4.9 * 86_400 })
    // The image timestamp lives a day; the worker renews it (see metadata-workers.test.ts).
    expect(Object.keys((await device.ask(nonce))?.director ?? {})).toEqual(['timestamp.json'])
    world.ctx.clock.advance({ seconds: 0.2 * 86_400 })
    expect(Object.keys((await device.ask(nonce))?.director ?? {}).sort()).toEqual([
      '2.snapshot.json',
      '2.targets.json',
      'timestamp.json',
    ])
  })
})

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { flushEvents } from '../../server/events/record.ts'
import { forgetCurrent } from '../../server/metadata/current.ts'
import { raiseAlarms, signAgainWhenDue } from '../../server/metadata/workers.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld, type TestDevice } from '../support/release-world.ts'

let handle: DatabaseHandle
let world: ReleaseWorld
let device: TestDevice
beforeEach(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle)
  const release = await world.publishRelease()
  device = await world.device()
  await world.deploy(device.id, release)
})
afterEach(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const hours = (n: number) => world.ctx.clock.advance({ seconds: n * 3_600 })

async function versions(role: string): Promise<number[]> {
  const rows = await world.ctx.db
    .selectFrom('metadata_file')
    .select('version')
    .where('repository', '=', 'image')
    .where('role', '=', role)
    .orderBy('version')
    .execute()
  return rows.map(({ version }) => version)
}

async function alarms() {
  await flushEvents(world.ctx)
  const { items } = await world.call('GET', '/events?kind=metadata-expiring')
  return items?.map(({ facts, severity }) => ({ facts, severity })) ?? []
}

describe('signing again', () => {
  test('the timestamp every 6 h, the snapshot before its 7 d end; devices go on without a pause', async () => {
    const before = { timestamp: await versions('timestamp'), snapshot: await versions('snapshot') }
    await signAgainWhenDue(world.ctx)
    expect(await versions('timestamp')).toEqual(before.timestamp)
    for (let day = 0; day < 8; day++) {
      for (const _ of [1, 2, 3, 4]) {
        hours(6)
        await signAgainWhenDue(world.ctx)
      }
      forgetCurrent(world.ctx.db)
      expect((await device.poll()).targets).toHaveLength(1)
    }
    expect(await versions('timestamp')).toHaveLength(before.timestamp.length + 32)
    expect(await versions('snapshot')).toHaveLength(before.snapshot.length + 1)
  })

  test('two processes at once sign one version', async () => {
    hours(7)
    const before = await versions('timestamp')
    await Promise.all([signAgainWhenDue(world.ctx), signAgainWhenDue(world.ctx)])
    expect(await versions('timestamp')).toHaveLength(before.length + 1)
  })

  test('old timestamps, which have no address, are not kept for ever', async () => {
    for (let day = 0; day < 33; day++) {
      hours(24)
      await signAgainWhenDue(world.ctx)
    }
    expect((await versions('timestamp')).length).toBeLessThan(34)
  })
})

describe('when signing again fails', () => {
  test('113 there is an alarm 12 h before the timestamp ends, once; not while all is well', async () => {
    const told = new Map<string, number>()
    hours(11)
    await raiseAlarms(world.ctx, told)
    expect(await alarms()).toEqual([])
    hours(2)
    await raiseAlarms(world.ctx, told)
    await raiseAlarms(world.ctx, told)
    expect(await alarms()).toMatchObject([{ severity: 'critical', facts: { role: 'timestamp' } }])
  })

  test('113 readiness names the role, and the metric says when each one ends', async () => {
    const readiness = async () => {
      world.ctx.clock.advance({ seconds: 2 })
      const { body } = await world.api.call('GET', '/../../readyz')
      return (body['metadata'] as { overdue: { role: string }[] }).overdue.map(({ role }) => role)
    }
    expect(await readiness()).toEqual([])
    hours(13)
    expect(await readiness()).toEqual(['timestamp'])
    await raiseAlarms(world.ctx, new Map())
    const { values } = await world.ctx.metrics.metadataExpires.get()
    const ends = new Map(values.map(({ labels, value }) => [String(labels['role']), value]))
    expect([...ends.keys()].toSorted()).toEqual([
      'director-root',
      'models',
      'root',
      'snapshot',
      'targets',
      'timestamp',
    ])
    expect(ends.get('timestamp')).toBeLessThan(ends.get('snapshot') ?? 0)
    // It was signed again after all.
    await signAgainWhenDue(world.ctx)
    expect(await readiness()).toEqual([])
    hours(24 * 6)
    expect(await readiness()).toEqual(['snapshot', 'timestamp'])
  })

  test('offline roles are announced while people can still meet', async () => {
    hours(24 * 80)
    await signAgainWhenDue(world.ctx)
    await raiseAlarms(world.ctx, new Map())
    expect(await alarms()).toMatchObject([{ facts: { role: 'fw-gate-2' } }])
    // The same content, signed again, silences it.
    await world.call('POST', '/metadata/fw-gate-2/draft', {})
    const reply = await world.sign('fw-gate-2', world.keys.release.slice(0, 2))
    expect(reply.body).toMatchObject({ state: 'published', version: 2 })
    expect((await device.poll()).targets).toHaveLength(1)
  })
})

describe('after a restore of an old backup', () => {
  /** Brings back the rows of the director and of the online roles as they were. */
  async function restore(rows: Awaited<ReturnType<typeof backup>>): Promise<void> {
    const { db } = world.ctx
    await db.deleteFrom('director_state').execute()
    await db.insertInto('director_state').values(rows.director).execute()
    await db
      .deleteFrom('metadata_file')
      .where('role', 'in', ['snapshot', 'timestamp'])
      .where('version', '>', Math.max(...rows.versions))
      .execute()
    forgetCurrent(db)
  }

  async function backup() {
    const director = await world.ctx.db.selectFrom('director_state').selectAll().execute()
    const online = [...(await versions('snapshot')), ...(await versions('timestamp'))]
    return { director, versions: online }
  }

  test('114 the server sees it by what the device holds and signs above it', async () => {
    await device.poll()
    const old = await backup()
    // Life goes on: the offer ends and comes again, the image files are signed again.
    const set = async (state: 'succeeded' | 'queued') =>
      await world.ctx.db.updateTable('deployment').set({ state }).execute()
    for (const state of ['succeeded', 'queued', 'succeeded', 'queued'] as const) {
      await set(state)
      hours(30)
      await signAgainWhenDue(world.ctx)
      hours(30)
      await signAgainWhenDue(world.ctx)
      forgetCurrent(world.ctx.db)
      await device.poll()
    }
    await restore(old)

    const stale = { director: {}, image: {} }
    const nonce = 'a'.repeat(32)
    // Without knowing what the device holds, the server would serve what the device must refuse.
    const blind = await device.ask(nonce, stale)
    const ask = vi.spyOn(device, 'ask').mockResolvedValueOnce(blind)
    await expect(device.poll()).rejects.toMatchObject({ name: 'VerificationError' })
    ask.mockRestore()

    expect((await device.poll()).targets).toHaveLength(1)
    await flushEvents(world.ctx)
    const { items } = await world.call('GET', '/events?kind=metadata-ahead')
    expect(items).toMatchObject([{ severity: 'critical', deviceId: device.id }])
  })
})

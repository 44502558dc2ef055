import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { newBuild } from '../support/rollout-given.ts'
import { givenRelease } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let api: TestApi
let groupId = ''
let deviceId = ''
beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
  api.ctx.clock.advance({
    seconds: (Date.parse('2026-12-01T12:00:00Z') - api.ctx.clock.now().getTime()) / 1_000,
  })
  groupId = String((await api.call('POST', '/groups', { name: 'Shops' })).body['id'])
  const device = await api.call('POST', '/devices', { name: 'Till 1', serialNumber: 'T1' })
  deviceId = String(device.body['id'])
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const nightly = { cron: '0 1 * * *', duration: 'PT4H', zone: 'Europe/Berlin' }

async function audited(action: string) {
  const rows = await handle.db
    .selectFrom('audit_event')
    .select(['actor', 'facts', 'request_id'])
    .where('action', '=', action)
    .execute()
  return rows
}

describe('the window of a group', () => {
  test('is set, shown in UTC and as the clock there shows it, and set again without a change', async () => {
    const path = `/groups/${groupId}/window`
    const first = await api.call('PUT', path, { ...nightly, blackout: ['2026-12-24/2026-12-26'] })
    expect(first.status).toBe(200)
    expect(first.body).toMatchObject({
      groupId,
      deviceId: null,
      window: { ...nightly, blackout: ['2026-12-24/2026-12-26'], hardClose: false },
      opens: {
        open: false,
        until: null,
        next: { at: '2026-12-02T00:00:00.000Z', local: '2026-12-02 01:00 Europe/Berlin' },
      },
    })
    const again = await api.call('PUT', path, { ...nightly, blackout: ['2026-12-24/2026-12-26'] })
    expect(again.body).toEqual(first.body)
    expect(await audited('window.set')).toHaveLength(1)
    const other = await api.call('PUT', path, nightly)
    expect(other.body).toMatchObject({ id: first.body['id'], window: { blackout: [] } })
    expect(await audited('window.set')).toMatchObject([
      { actor: `key:${api.keys.admin.id}`, facts: { groupId, cron: '0 1 * * *' } },
      { facts: { blackout: [] } },
    ])
  })
  test('and that of a device; both are listed; removed, they are gone', async () => {
    const path = `/devices/${deviceId}/window`
    const weekly = { days: ['sat', 'sun'], at: '22:00' }
    const { status } = await api.call('PUT', path, { weekly, duration: 'PT8H', zone: 'UTC' })
    expect(status).toBe(200)
    expect((await api.call('GET', '/windows')).body.items).toHaveLength(2)
    const one = await api.call('GET', `/windows?deviceId=${deviceId}`)
    expect(one.body.items).toMatchObject([{ deviceId, window: { weekly } }])
    expect((await api.call('DELETE', path)).status).toBe(204)
    expect((await api.call('DELETE', path)).status).toBe(404)
    expect(await audited('window.remove')).toMatchObject([{ facts: { deviceId } }])
  })
  test('a viewer sees it and does not set it', async () => {
    const key = api.keys.viewer.secret
    expect((await api.call('GET', '/windows', undefined, { key })).status).toBe(200)
    expect((await api.call('PUT', `/groups/${groupId}/window`, nightly, { key })).status).toBe(403)
  })
  test('of what does not exist is refused', async () => {
    const id = newId(new Date())
    expect((await api.call('PUT', `/groups/${id}/window`, nightly)).status).toBe(404)
    expect((await api.call('PUT', `/devices/${id}/window`, nightly)).status).toBe(404)
  })
})

test.each([
  [{ ...nightly, cron: '0 25 * * *' }, 'window.cron'],
  [{ ...nightly, cron: '0 1 30 2 *' }, 'window.cron'],
  [{ ...nightly, cron: '* * * * *' }, 'window.cron'],
  [{ duration: 'PT4H', zone: 'UTC' }, 'window'],
  [{ ...nightly, weekly: { days: ['mon'], at: '01:00' } }, 'window'],
  [{ ...nightly, duration: 'PT4M' }, 'window.duration'],
  [{ ...nightly, duration: 'P8D' }, 'window.duration'],
  [{ ...nightly, duration: '4 hours' }, 'window.duration'],
  [{ ...nightly, zone: 'Europe/Nowhere' }, 'window.zone'],
  [{ ...nightly, zone: '+01:00' }, 'window.zone'],
  [{ ...nightly, blackout: ['2026-02-30'] }, 'window.blackout'],
  [{ ...nightly, blackout: ['2026-12-26/2026-12-24'] }, 'window.blackout'],
  [{ ...nightly, until: '2026-13-01' }, 'window.until'],
  [{ ...nightly, until: '2026-11-30' }, 'window'],
  [{ ...nightly, blackout: ['2026-12-01/9999-12-31'] }, 'window'],
  [{ ...nightly, blackout: ['tomorrow'] }, 'blackout.0'],
  [{ ...nightly, hard: true }, ''],
])('%j is refused at %s', async (body, at) => {
  const reply = await api.call('PUT', `/groups/${groupId}/window`, body)
  expect(reply.status).toBe(400)
  expect(reply.body['issues'], reply.text).toEqual([expect.objectContaining({ at })])
})

describe('days on which nothing begins', () => {
  const body = { name: 'Holidays', zone: 'Europe/Berlin', dates: ['2026-12-24/2026-12-26'] }
  test('are named, changed and removed, each with an audit row', async () => {
    const headers = { 'Idempotency-Key': 'k1-blackout' }
    const made = await api.call('POST', '/blackouts', body, { headers })
    expect(made.status).toBe(201)
    expect(made.body).toMatchObject({ ...body, closed: false })
    const again = await api.call('POST', '/blackouts', body, { headers })
    expect(again.body['id']).toBe(made.body['id'])
    expect((await api.call('POST', '/blackouts', body)).status).toBe(409)
    const path = `/blackouts/${String(made.body['id'])}`
    const changed = await api.call('PUT', path, { ...body, dates: ['2026-12-01'] })
    expect(changed.body).toMatchObject({ dates: ['2026-12-01'], closed: true })
    await api.call('PUT', path, { ...body, dates: ['2026-12-01'] })
    expect((await api.call('GET', '/blackouts')).body.items).toHaveLength(1)
    expect((await api.call('DELETE', path)).status).toBe(204)
    expect((await api.call('DELETE', path)).status).toBe(404)
    expect((await api.call('PUT', path, body)).status).toBe(404)
    expect(await audited('blackout.create')).toHaveLength(1)
    expect(await audited('blackout.change')).toHaveLength(1)
    expect(await audited('blackout.remove')).toHaveLength(1)
  })
  test.each([
    [{ ...body, zone: 'Nowhere' }, 'zone'],
    [{ ...body, dates: [] }, 'dates'],
    [{ ...body, dates: ['2027-02-29'] }, 'dates'],
  ])('%j is refused', async (odd, at) => {
    const reply = await api.call('POST', '/blackouts', odd)
    expect(reply.status).toBe(400)
    expect(reply.body['issues'], reply.text).toEqual([expect.objectContaining({ at })])
  })
  test('there are twenty calendars at most', async () => {
    for (let n = 0; n < 20; n++) {
      expect((await api.call('POST', '/blackouts', { ...body, name: `C${n}` })).status).toBe(201)
    }
    expect((await api.call('POST', '/blackouts', { ...body, name: 'C20' })).status).toBe(409)
  })
})

const given = async (more: Parameters<typeof givenRelease>[1] = {}) =>
  await givenRelease({ db: handle.db, clock: api.ctx.clock }, { build: newBuild(), ...more })
const edit = async (id: unknown, more: object) =>
  await api.call('PATCH', `/rollouts/${String(id)}`, more)
const create = async (releaseId: string, more: object) =>
  await api.call('POST', '/rollouts', {
    name: 'Spring',
    releaseId,
    groupId,
    phases: [{ percent: 100 }],
    ...more,
  })

describe('the window of a rollout', () => {
  test('is kept with it, part of what is approved, and shown with the next opening', async () => {
    const { id } = await given()
    const plain = await create(id, {})
    const made = await create(id, { window: nightly, ignoreWindows: { reason: 'CVE-2027-1' } })
    expect(made.status, made.text).toBe(201)
    expect(made.body).toMatchObject({
      window: {
        ...nightly,
        hardClose: false,
        opens: { open: false, next: { local: '2026-12-02 01:00 Europe/Berlin' } },
      },
      ignoreWindows: { reason: 'CVE-2027-1', blackouts: false },
    })
    expect(plain.body).toMatchObject({ window: null, ignoreWindows: null })
    const path = `/rollouts/${String(made.body['id'])}`
    expect((await api.call('GET', path)).body['window']).toEqual(made.body['window'])
    const { definition } = (await api.call('GET', `${path}/definition`)).body
    expect(definition).toMatchObject({
      installWindow: nightly,
      ignoreWindows: { blackouts: false },
    })
    expect(await audited('rollout.create')).toMatchObject([
      {},
      { facts: { install_window: nightly, ignore_windows: { reason: 'CVE-2027-1' } } },
    ])
  })

  test('is changed by an edit, which is checked alike, and taken away by null', async () => {
    const { id } = await given({ class: 'feature' })
    const made = (await create(id, { window: nightly })).body['id']
    const later = await edit(made, { window: { ...nightly, cron: '0 2 * * *' } })
    expect(later.body).toMatchObject({
      window: { opens: { next: { at: '2026-12-02T01:00:00.000Z' } } },
    })
    expect((await edit(made, { name: 'Other' })).body['window']).toEqual(later.body['window'])
    expect((await edit(made, { window: { ...nightly, until: '2026-11-01' } })).status).toBe(400)
    expect((await edit(made, { ignoreWindows: { reason: 'Because' } })).status).toBe(400)
    expect((await edit(made, { window: null })).body['window']).toBeNull()
  })

  test.each([
    [{ window: { ...nightly, cron: '0 1 30 2 *' } }, 'window.cron'],
    [{ window: { ...nightly, until: '2026-11-01' } }, 'window'],
    [{ window: '0 1 * * *' }, 'window'],
    [{ ignoreWindows: true }, 'ignoreWindows'],
    [{ ignoreWindows: { reason: 'a\u001bb' } }, 'ignoreWindows.reason'],
  ])('%j is refused', async (more, at) => {
    const reply = await create((await given()).id, more)
    expect(reply.status).toBe(400)
    expect(reply.body['issues'], reply.text).toEqual([expect.objectContaining({ at })])
  })

  test('only a security release passes windows', async () => {
    const feature = await given({ class: 'feature' })
    const ignoreWindows = { reason: 'Because' }
    expect((await create(feature.id, { ignoreWindows })).status).toBe(400)
    expect((await create(feature.id, {})).status).toBe(201)
  })
})

import { sql } from 'kysely'
import { expect } from 'vitest'

import { inTransaction } from '../../server/db/transaction.ts'
import { storeHellos } from '../../server/devices/hello.ts'
import { evaluateNext } from '../../server/groups/dynamic.ts'
import { newId } from '../../server/ids.ts'
import { type DatabaseWorld, onBothDatabases } from '../support/both-databases.ts'

const { signal } = new AbortController()

let count = 0
const unique = (word: string) => `${word}-${++count}`

/** What happens to devices and groups in the world of one test. */
function on({ handle, api }: DatabaseWorld) {
  const given = async (
    number: number,
    model: string | null,
    seenSeconds = 0,
  ): Promise<string[]> => {
    const ids = Array.from({ length: number }, () => newId(api.ctx.clock.now()))
    const at = new Date(api.ctx.clock.now().getTime() - seenSeconds * 1000)
    await sql`insert into device (id, name, serial_number, state, model, created_at, changed_at)
      select id, id::text, id::text, 'active', ${model}, ${at}, ${at} from unnest(${ids}::uuid[]) id`.execute(
      handle.db,
    )
    await sql`insert into device_presence (device_id, node_id, epoch, connected, last_seen_at)
      select id, id, 1, false, ${at} from unnest(${ids}::uuid[]) id`.execute(handle.db)
    return ids
  }
  const hello = async (deviceId: string, said: { model: string; region?: string }) => {
    const body = {
      agent: 'sim/1',
      model: said.model,
      hardwareIds: ['r1'],
      installed: [],
      attributes: said.region === undefined ? {} : { region: said.region },
      optOut: false,
      nonce: '00'.repeat(16),
      have: { director: {}, image: {} },
    }
    const { regrouped } = await inTransaction(handle.db, (tx) =>
      storeHellos(tx, [{ deviceId, body } as never], api.ctx.clock.now()),
    )
    return regrouped
  }
  const evaluate = async () => {
    let looked = 0
    while (await evaluateNext(api.ctx, signal)) looked += 1
    return looked
  }
  const make = async (query: string) => {
    const { status, body } = await api.call('POST', '/groups', { name: unique('group'), query })
    expect(status, JSON.stringify(body)).toBe(201)
    return String(body['id'])
  }
  const members = async (groupId: string) => {
    const { rows } = await sql<{ id: string }>`
      select device_id as id from device_group_member where group_id = ${groupId} order by 1`.execute(
      handle.db,
    )
    return rows.map(({ id }) => id)
  }
  return { api, handle, given, hello, evaluate, make, members }
}

const both = onBothDatabases()

both(
  'hold the devices that the query finds, also more than one batch, and follow its change',
  async (world) => {
    const { api, given, evaluate, make, members } = on(world)
    const model = unique('cam')
    const ids = await given(2_300, model)
    const others = await given(3, unique('cam'))
    const groupId = await make(`model = "${model}"`)
    expect(await members(groupId)).toEqual([])
    expect(await evaluate()).toBe(1)
    expect(await members(groupId)).toEqual(ids.toSorted())
    expect((await api.call('GET', `/groups/${groupId}`)).body).toMatchObject({
      deviceCount: 2_300,
      query: `model = "${model}"`,
      evaluatedAt: api.ctx.clock.now().toISOString(),
    })
    // Nothing is due: nothing is looked at.
    expect(await evaluate()).toBe(0)
    const list = others.map((id) => `"${id}"`).join(', ')
    const changed = await api.call('PATCH', `/groups/${groupId}`, { query: `id in (${list})` })
    expect(changed.status).toBe(200)
    expect(await evaluate()).toBe(1)
    expect(await members(groupId)).toEqual(others.toSorted())
  },
)

both(
  'a device that says something new moves at once, before the next look at all',
  async (world) => {
    const { given, hello, evaluate, make, members } = on(world)
    const model = unique('cam')
    const [device = ''] = await given(1, null)
    const eu = await make(`model = "${model}" and attributes.region = "eu"`)
    const notEu = await make(`model = "${model}" and attributes.region != "eu"`)
    await evaluate()
    expect(await hello(device, { model, region: 'eu' })).toEqual([device])
    expect([await members(eu), await members(notEu)]).toEqual([[device], []])
    expect(await hello(device, { model, region: 'eu' })).toEqual([])
    expect(await hello(device, { model, region: 'uk' })).toEqual([device])
    expect([await members(eu), await members(notEu)]).toEqual([[], [device]])
    expect(await evaluate()).toBe(0)
  },
)

both('what time changes is looked at every minute, and only that', async (world) => {
  const { api, handle, given, evaluate, make, members } = on(world)
  const model = unique('cam')
  const ids = await given(2, model)
  const silent = await make(`model = "${model}" and lastSeen > 10m`)
  const steady = await make(`model = "${model}"`)
  await evaluate()
  expect([await members(silent), await members(steady)]).toEqual([[], ids.toSorted()])
  api.ctx.clock.advance({ seconds: 601 })
  await evaluate()
  expect(await members(silent)).toEqual(ids.toSorted())
  const { rows } = await sql<{ id: string }>`select id from device_group
    where evaluated_at = ${api.ctx.clock.now()} and id = any(${[silent, steady]}::uuid[])`.execute(
    handle.db,
  )
  expect(rows).toEqual([{ id: silent }])
})

both('nobody leaves a group while it is cut off', async (world) => {
  const { api, given, hello, evaluate, make, members } = on(world)
  const model = unique('cam')
  const [device = ''] = await given(1, null)
  const groupId = await make(`model = "${model}" and attributes.region = "eu"`)
  await evaluate()
  await hello(device, { model, region: 'eu' })
  const act = (action: string) =>
    api.call('POST', `/groups/${groupId}/actions`, { action, reason: 'test' })
  expect((await act('disable')).status).toBe(202)
  await hello(device, { model, region: 'uk' })
  await api.call('PATCH', `/groups/${groupId}`, { query: 'model = "none"' })
  await evaluate()
  expect(await members(groupId)).toEqual([device])
  expect((await act('enable')).status).toBe(202)
  await hello(device, { model, region: 'uk' })
  expect(await members(groupId)).toEqual([])
})

both(
  'a query that changes while all devices are looked at leaves no wrong member',
  async (world) => {
    const { api, given, evaluate, make, members } = on(world)
    const model = unique('cam')
    const ids = await given(5, model)
    const groupId = await make(`model = "${model}"`)
    const [first, second] = [evaluateNext(api.ctx, signal), evaluateNext(api.ctx, signal)]
    await api.call('PATCH', `/groups/${groupId}`, { query: `id = "${ids[0]}"` })
    await Promise.all([first, second])
    await evaluate()
    expect(await members(groupId)).toEqual([ids[0]])
  },
)

both('a process that died leaves the group to another, after its lease', async (world) => {
  const { api, given, evaluate, make, members } = on(world)
  const model = unique('cam')
  const ids = await given(2, model)
  const groupId = await make(`model = "${model}"`)
  const stopped = new AbortController()
  stopped.abort()
  expect(await evaluateNext(api.ctx, stopped.signal)).toBe(false)
  expect(await evaluate()).toBe(0)
  api.ctx.clock.advance({ seconds: 61 })
  await evaluate()
  expect(await members(groupId)).toEqual(ids.toSorted())
})

both('what does not fit is refused, with what to do', async (world) => {
  const { api, given, make } = on(world)
  const chosen = await api.call('POST', '/groups', { name: unique('group') })
  const dynamic = await make('model = "none"')
  const [device = ''] = await given(1, null)
  const answers = {
    wrong: await api.call('POST', '/groups', { name: unique('g'), query: 'model = ' }),
    cyclic: await api.call('POST', '/groups', { name: unique('g'), query: 'group = "a"' }),
    chosen: await api.call('PATCH', `/groups/${String(chosen.body['id'])}`, {
      query: 'connected',
    }),
    member: await api.call('PUT', `/groups/${dynamic}/devices/${device}`),
    registered: await api.call('POST', '/devices', {
      serialNumber: unique('SN'),
      groupId: dynamic,
    }),
    profile: await api.call('POST', '/enrollment-profiles', {
      name: unique('line'),
      groupId: dynamic,
      auth: { type: 'token' },
      registration: 'just-in-time',
    }),
  }
  const said = Object.entries(answers).map(([name, { status, body }]) => [
    name,
    status,
    body['code'],
  ])
  expect(said).toEqual([
    ['wrong', 400, 'invalid-request'],
    ['cyclic', 400, 'invalid-request'],
    ['chosen', 409, 'conflict'],
    ['member', 409, 'conflict'],
    ['registered', 409, 'conflict'],
    ['profile', 409, 'conflict'],
  ])
  expect(JSON.stringify(answers.wrong.body)).toContain('column 8')
  expect((await api.call('DELETE', `/groups/${dynamic}`)).status).toBe(204)
})

both('a device list answers a question, page by page', async (world) => {
  const { api, given } = on(world)
  const model = unique('cam')
  const ids = await given(5, model)
  const query = encodeURIComponent(`model = "${model}" and not connected`)
  const first = await api.call('GET', `/devices?query=${query}&limit=3`)
  const second = await api.call(
    'GET',
    `/devices?query=${query}&limit=3&cursor=${String(first.body['nextCursor'])}`,
  )
  const found = [...(first.body.items ?? []), ...(second.body.items ?? [])]
  expect(found.map(({ id }) => id)).toEqual(ids.toSorted().toReversed())
  expect(
    (await api.call('GET', `/devices?query=${encodeURIComponent('model = cam')}`)).status,
  ).toBe(400)
})

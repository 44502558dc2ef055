import { expect } from 'vitest'

import { newId } from '../../server/ids.ts'
import { type DatabaseWorld, onBothDatabases } from '../support/both-databases.ts'

const both = onBothDatabases()

let unique = 0
const name = (what: string) => `${what}-${++unique}`
const makeGroup = async ({ api }: DatabaseWorld, body: object = { name: name('group') }) =>
  String((await api.call('POST', '/groups', body)).body['id'])
const register = async ({ api }: DatabaseWorld, body: object = { serialNumber: name('SN') }) =>
  String((await api.call('POST', '/devices', body)).body['id'])
const actionsOn = async ({ handle }: DatabaseWorld, subject: string) =>
  (
    await handle.db
      .selectFrom('audit_event')
      .select('action')
      .where('subject', '=', subject)
      .orderBy('seq')
      .execute()
  ).map(({ action }) => action)

both('a group is made, found by name, changed and removed, each step audited', async (world) => {
  const groupName = name('lab')
  const made = await world.api.call('POST', '/groups', { name: groupName, description: 'benches' })
  expect(made).toMatchObject({
    status: 201,
    body: { name: groupName, description: 'benches', deviceCount: 0, incident: null },
  })
  const id = String(made.body['id'])
  expect((await world.api.call('GET', `/groups?name=${groupName}`)).body.items).toMatchObject([
    { id },
  ])
  const changed = await world.api.call('PATCH', `/groups/${id}`, { description: 'racks' })
  expect(changed.body).toMatchObject({ name: groupName, description: 'racks' })
  expect((await world.api.call('DELETE', `/groups/${id}`)).status).toBe(204)
  expect((await world.api.call('GET', `/groups/${id}`)).status).toBe(404)
  expect((await world.api.call('DELETE', `/groups/${id}`)).status).toBe(404)
  expect(await actionsOn(world, id)).toEqual(['group.create', 'group.change', 'group.delete'])
})

both(
  'a name is taken once, also at the same moment; the same request twice makes one group',
  async (world) => {
    const groupName = name('same')
    const results = await Promise.all(
      Array.from({ length: 4 }, () => world.api.call('POST', '/groups', { name: groupName })),
    )
    expect(results.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([
      201, 409, 409, 409,
    ])
    const other = await makeGroup(world)
    expect((await world.api.call('PATCH', `/groups/${other}`, { name: groupName })).status).toBe(
      409,
    )
    const again = { headers: { 'Idempotency-Key': name('key') } }
    const body = { name: name('twice') }
    const [first, second] = await Promise.all([
      world.api.call('POST', '/groups', body, again),
      world.api.call('POST', '/groups', body, again),
    ])
    expect(second.body).toEqual(first.body)
    expect(await actionsOn(world, String(first.body['id']))).toEqual(['group.create'])
  },
)

both('policy is not there yet and is refused by name', async (world) => {
  const reply = await world.api.call('POST', '/groups', { name: name('x'), policy: {} })
  expect(reply).toMatchObject({
    status: 400,
    body: { code: 'invalid-request', issues: [{ at: 'policy' }] },
  })
  expect(reply.text).toContain('not available in this version')
  const path = `/groups/${await makeGroup(world)}`
  expect((await world.api.call('PATCH', path, { policy: {} })).status).toBe(400)
})

both(
  'a device is registered, found by a piece of its name or serial number, and only once',
  async (world) => {
    const groupId = await makeGroup(world)
    const serialNumber = name('AA:BB%_')
    const made = await world.api.call('POST', '/devices', { serialNumber, name: 'Pump 7', groupId })
    expect(made).toMatchObject({
      status: 201,
      body: {
        serialNumber,
        name: 'Pump 7',
        state: 'registered',
        connected: false,
        certificate: null,
        groupIds: [groupId],
        installed: [],
      },
    })
    const id = String(made.body['id'])
    const penalty = { until: null, why: null, rolledBackFrom: [] }
    const shown = { ...made.body, lastRefusal: null, penalty }
    expect((await world.api.call('GET', `/devices/${id}`)).body).toEqual(shown)
    const found = async (query: string) =>
      (
        await world.api.call(
          'GET',
          `/devices?query=${encodeURIComponent(query)}&groupId=${groupId}`,
        )
      ).body.items?.length
    expect(await found('pump')).toBe(1)
    expect(await found('bb%_')).toBe(1)
    expect(await found('a%b')).toBe(0)
    expect(await found('_ump')).toBe(0)
    expect(await found('\\')).toBe(0)
    const twice = await world.api.call('POST', '/devices', { serialNumber })
    expect(twice).toMatchObject({ status: 409, body: { code: 'conflict', deviceId: id } })
    expect(await actionsOn(world, id)).toEqual(['device.register'])
  },
)

both('what looks like a question and is none is refused', async ({ api }) => {
  for (const query of ['model==x', 'a and (b)', 'a=1', 'name:"x"', 'x*']) {
    const path = `/devices?query=${encodeURIComponent(query)}`
    expect((await api.call('GET', path)).status, query).toBe(400)
  }
})

both('a device that is not one is refused', async ({ api }) => {
  for (const body of [
    { serialNumber: '' },
    { serialNumber: 'with space' },
    { serialNumber: 'x'.repeat(65) },
    { serialNumber: 'ümlaut' },
    {},
    { serialNumber: 'ok', groupId: 'nope' },
  ]) {
    expect((await api.call('POST', '/devices', body)).status, JSON.stringify(body)).toBe(400)
  }
})

both('lists filter by group, state and connection, and page', async (world) => {
  const groupId = await makeGroup(world)
  const ids: string[] = []
  for (let n = 0; n < 5; n++) {
    world.api.ctx.clock.advance({ seconds: 1 })
    ids.push(await register(world, { serialNumber: name('LIST'), groupId }))
  }
  const now = world.api.ctx.clock.now()
  await world.handle.db
    .insertInto('device_presence')
    .values({
      device_id: ids[1] ?? '',
      node_id: world.api.ctx.nodeId,
      epoch: 1,
      connected: true,
      last_seen_at: now,
    })
    .execute()
  const list = async (query: string) =>
    (await world.api.call('GET', `/devices?groupId=${groupId}&${query}`)).body.items?.map((item) =>
      String(item['id']),
    )
  expect(await list('')).toEqual(ids.toReversed())
  expect(await list('connected=true')).toEqual([ids[1]])
  expect(await list('connected=false')).toHaveLength(4)
  expect(await list('state=active')).toEqual([])
  const page = await world.api.call('GET', `/devices?groupId=${groupId}&limit=3`)
  expect(await list(`limit=3&cursor=${String(page.body['nextCursor'])}`)).toEqual([ids[1], ids[0]])
  expect((await world.api.call('GET', `/devices/${ids[1] ?? ''}`)).body).toMatchObject({
    connected: true,
    lastSeenAt: now.toISOString(),
  })
})

both('the newest certificate is summed up', async (world) => {
  const id = await register(world)
  const now = world.api.ctx.clock.now()
  const authorityId = newId(now)
  await world.handle.db
    .insertInto('authority')
    .values({
      id: authorityId,
      purpose: 'devices',
      name: 'test',
      state: 'retired',
      issuer_id: null,
      certificate: Buffer.from('x'),
      wrapped_key: null,
      created_at: now,
    })
    .execute()
  await world.handle.db
    .insertInto('certificate')
    .values({
      id: newId(now),
      authority_id: authorityId,
      serial: Buffer.from('0123456789'),
      kind: 'device',
      state: 'issued',
      device_id: id,
      tbs: Buffer.from('t'),
      der: Buffer.from('d'),
      fingerprint: id.replaceAll('-', '').repeat(2),
      subject: 'CN=x',
      not_before: now,
      not_after: new Date(now.getTime() + 1000),
      revoked_at: null,
      revocation_reason: null,
      replaces_id: null,
      enrollment_token_id: null,
      spki_sha256: Buffer.alloc(32),
      request_key: null,
      created_at: now,
    })
    .execute()
  expect((await world.api.call('GET', `/devices/${id}`)).body['certificate']).toMatchObject({
    state: 'issued',
    serial: '30313233343536373839',
    notBefore: now.toISOString(),
  })
})

both('members come and go; a change is announced once and told to every process', async (world) => {
  const groupId = await makeGroup(world)
  const deviceId = await register(world)
  const path = `/groups/${groupId}/devices/${deviceId}`
  const changes = async () =>
    (
      await world.handle.db
        .selectFrom('identity_change')
        .select('seq')
        .where('device_id', '=', deviceId)
        .execute()
    ).length
  expect((await world.api.call('PUT', path)).status).toBe(204)
  expect((await world.api.call('PUT', path)).status).toBe(204)
  expect(await changes()).toBe(1)
  expect((await world.api.call('GET', `/groups/${groupId}`)).body['deviceCount']).toBe(1)
  const inUse = await world.api.call('DELETE', `/groups/${groupId}`)
  expect(inUse).toMatchObject({ status: 409, body: { usedBy: { devices: 1 } } })
  expect((await world.api.call('DELETE', path)).status).toBe(204)
  expect((await world.api.call('DELETE', path)).status).toBe(204)
  expect(await changes()).toBe(2)
  expect(await actionsOn(world, groupId)).toEqual([
    'group.create',
    'group.add-device',
    'group.remove-device',
  ])
  expect((await world.api.call('PUT', `/groups/${groupId}/devices/${groupId}`)).status).toBe(404)
  expect((await world.api.call('PUT', `/groups/${deviceId}/devices/${deviceId}`)).status).toBe(404)
})

both('a group is cut off and let back; the incident stays with it', async (world) => {
  const groupId = await makeGroup(world)
  const act = async (action: string, reason = 'stolen keys') =>
    await world.api.call('POST', `/groups/${groupId}/actions`, { action, reason })
  expect(await act('disable')).toMatchObject({
    status: 202,
    body: { incident: { reason: 'stolen keys' } },
  })
  expect((await act('disable')).status).toBe(202)
  expect(await act('enable', 'found')).toMatchObject({ status: 202, body: { incident: null } })
  expect((await world.api.call('DELETE', `/groups/${groupId}`)).body).toMatchObject({
    usedBy: { incidents: 1 },
  })
  expect((await act('disable', '')).status).toBe(400)
  expect((await act('revoke')).status).toBe(400)
})

both('a device is disabled and enabled; a viewer may only look', async (world) => {
  const id = await register(world)
  const act = async (action: string, key = world.api.keys.operator.secret) =>
    await world.api.call('POST', `/devices/${id}/actions`, { action, reason: 'lost' }, { key })
  expect((await act('disable', world.api.keys.viewer.secret)).status).toBe(403)
  expect(await act('disable')).toMatchObject({ status: 200, body: { state: 'disabled' } })
  expect(await act('enable')).toMatchObject({ status: 200, body: { state: 'registered' } })
  expect((await act('explode')).status).toBe(400)
  for (const [method, path, body] of [
    ['POST', '/groups', { name: 'x' }],
    ['POST', '/devices', { serialNumber: 'x' }],
    ['PUT', `/groups/${id}/devices/${id}`, undefined],
  ] as const) {
    expect(
      (await world.api.call(method, path, body, { key: world.api.keys.viewer.secret })).status,
    ).toBe(403)
  }
})

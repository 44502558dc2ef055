import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createEmbeddedDatabase, createTestDatabase } from '../support/database.ts'

describe.each([
  ['PostgreSQL', createTestDatabase],
  ['PGlite', createEmbeddedDatabase],
] as const)('%s', (_kind, create) => {
  let handle: DatabaseHandle
  let api: TestApi
  beforeAll(async () => {
    handle = await create()
    api = await startApi(handle)
  })
  afterAll(async () => {
    await api[Symbol.asyncDispose]()
    await handle[Symbol.asyncDispose]()
  })

  let unique = 0
  const name = (what: string) => `${what}-${++unique}`
  const makeGroup = async (body: object = { name: name('group') }) =>
    String((await api.call('POST', '/groups', body)).body['id'])
  const register = async (body: object = { serialNumber: name('SN') }) =>
    String((await api.call('POST', '/devices', body)).body['id'])
  const actionsOn = async (subject: string) =>
    (
      await handle.db
        .selectFrom('audit_event')
        .select('action')
        .where('subject', '=', subject)
        .orderBy('seq')
        .execute()
    ).map(({ action }) => action)

  test('a group is made, found by name, changed and removed, each step audited', async () => {
    const groupName = name('lab')
    const made = await api.call('POST', '/groups', { name: groupName, description: 'benches' })
    expect(made).toMatchObject({
      status: 201,
      body: { name: groupName, description: 'benches', deviceCount: 0, incident: null },
    })
    const id = String(made.body['id'])
    expect((await api.call('GET', `/groups?name=${groupName}`)).body.items).toMatchObject([{ id }])
    const changed = await api.call('PATCH', `/groups/${id}`, { description: 'racks' })
    expect(changed.body).toMatchObject({ name: groupName, description: 'racks' })
    expect((await api.call('DELETE', `/groups/${id}`)).status).toBe(204)
    expect((await api.call('GET', `/groups/${id}`)).status).toBe(404)
    expect((await api.call('DELETE', `/groups/${id}`)).status).toBe(404)
    expect(await actionsOn(id)).toEqual(['group.create', 'group.change', 'group.delete'])
  })

  test('a name is taken once, also at the same moment; the same request twice makes one group', async () => {
    const groupName = name('same')
    const results = await Promise.all(
      Array.from({ length: 4 }, () => api.call('POST', '/groups', { name: groupName })),
    )
    expect(results.map(({ status }) => status).toSorted()).toEqual([201, 409, 409, 409])
    const other = await makeGroup()
    expect((await api.call('PATCH', `/groups/${other}`, { name: groupName })).status).toBe(409)
    const again = { headers: { 'Idempotency-Key': name('key') } }
    const body = { name: name('twice') }
    const [first, second] = await Promise.all([
      api.call('POST', '/groups', body, again),
      api.call('POST', '/groups', body, again),
    ])
    expect(second.body).toEqual(first.body)
    expect(await actionsOn(String(first.body['id']))).toEqual(['group.create'])
  })

  test.each([{ query: 'model==x' }, { policy: {} }])(
    'what is not there yet is refused by name: %j',
    async (extra) => {
      const [field = ''] = Object.keys(extra)
      const reply = await api.call('POST', '/groups', { name: name('x'), ...extra })
      expect(reply).toMatchObject({
        status: 400,
        body: { code: 'invalid-request', issues: [{ at: field }] },
      })
      expect(reply.text).toContain('not available in this version')
      expect((await api.call('PATCH', `/groups/${await makeGroup()}`, extra)).status).toBe(400)
    },
  )

  test('a device is registered, found by a piece of its name or serial number, and only once', async () => {
    const groupId = await makeGroup()
    const serialNumber = name('AA:BB%_')
    const made = await api.call('POST', '/devices', { serialNumber, name: 'Pump 7', groupId })
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
    expect((await api.call('GET', `/devices/${id}`)).body).toEqual(made.body)
    const found = async (query: string) =>
      (await api.call('GET', `/devices?query=${encodeURIComponent(query)}&groupId=${groupId}`)).body
        .items?.length
    expect(await found('pump')).toBe(1)
    expect(await found('bb%_')).toBe(1)
    expect(await found('a%b')).toBe(0)
    expect(await found('_ump')).toBe(0)
    expect(await found('\\')).toBe(0)
    const twice = await api.call('POST', '/devices', { serialNumber })
    expect(twice).toMatchObject({ status: 409, body: { code: 'conflict', deviceId: id } })
    expect(await actionsOn(id)).toEqual(['device.register'])
  })

  test.each(['model==x', 'a and (b)', 'a=1', 'name:"x"', 'x*'])(
    'a query language is refused: %s',
    async (query) => {
      expect((await api.call('GET', `/devices?query=${encodeURIComponent(query)}`)).status).toBe(
        400,
      )
    },
  )

  test.each([
    { serialNumber: '' },
    { serialNumber: 'with space' },
    { serialNumber: 'x'.repeat(65) },
    { serialNumber: 'ümlaut' },
    {},
    { serialNumber: 'ok', groupId: 'nope' },
  ])('a device that is not one is refused: %j', async (body) => {
    expect((await api.call('POST', '/devices', body)).status).toBe(400)
  })

  test('lists filter by group, state and connection, and page', async () => {
    const groupId = await makeGroup()
    const ids: string[] = []
    for (let n = 0; n < 5; n++) {
      api.ctx.clock.advance({ seconds: 1 })
      ids.push(await register({ serialNumber: name('LIST'), groupId }))
    }
    const now = api.ctx.clock.now()
    await handle.db
      .insertInto('device_presence')
      .values({
        device_id: ids[1] ?? '',
        node_id: api.ctx.nodeId,
        epoch: 1,
        connected: true,
        last_seen_at: now,
      })
      .execute()
    const list = async (query: string) =>
      (await api.call('GET', `/devices?groupId=${groupId}&${query}`)).body.items?.map((item) =>
        String(item['id']),
      )
    expect(await list('')).toEqual(ids.toReversed())
    expect(await list('connected=true')).toEqual([ids[1]])
    expect(await list('connected=false')).toHaveLength(4)
    expect(await list('state=active')).toEqual([])
    const page = await api.call('GET', `/devices?groupId=${groupId}&limit=3`)
    expect(await list(`limit=3&cursor=${String(page.body['nextCursor'])}`)).toEqual([
      ids[1],
      ids[0],
    ])
    expect((await api.call('GET', `/devices/${ids[1] ?? ''}`)).body).toMatchObject({
      connected: true,
      lastSeenAt: now.toISOString(),
    })
  })

  test('the newest certificate is summed up', async () => {
    const id = await register()
    const now = api.ctx.clock.now()
    const authorityId = newId(now)
    await handle.db
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
    await handle.db
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
    expect((await api.call('GET', `/devices/${id}`)).body['certificate']).toMatchObject({
      state: 'issued',
      serial: '30313233343536373839',
      notBefore: now.toISOString(),
    })
  })

  test('members come and go; a change is announced once and told to every process', async () => {
    const groupId = await makeGroup()
    const deviceId = await register()
    const path = `/groups/${groupId}/devices/${deviceId}`
    const changes = async () =>
      (
        await handle.db
          .selectFrom('identity_change')
          .select('seq')
          .where('device_id', '=', deviceId)
          .execute()
      ).length
    expect((await api.call('PUT', path)).status).toBe(204)
    expect((await api.call('PUT', path)).status).toBe(204)
    expect(await changes()).toBe(1)
    expect((await api.call('GET', `/groups/${groupId}`)).body['deviceCount']).toBe(1)
    const inUse = await api.call('DELETE', `/groups/${groupId}`)
    expect(inUse).toMatchObject({ status: 409, body: { usedBy: { devices: 1 } } })
    expect((await api.call('DELETE', path)).status).toBe(204)
    expect((await api.call('DELETE', path)).status).toBe(204)
    expect(await changes()).toBe(2)
    expect(await actionsOn(groupId)).toEqual([
      'group.create',
      'group.add-device',
      'group.remove-device',
    ])
    expect((await api.call('PUT', `/groups/${groupId}/devices/${groupId}`)).status).toBe(404)
    expect((await api.call('PUT', `/groups/${deviceId}/devices/${deviceId}`)).status).toBe(404)
  })

  test('a group is cut off and let back; the incident stays with it', async () => {
    const groupId = await makeGroup()
    const act = async (action: string, reason = 'stolen keys') =>
      await api.call('POST', `/groups/${groupId}/actions`, { action, reason })
    expect(await act('disable')).toMatchObject({
      status: 202,
      body: { incident: { reason: 'stolen keys' } },
    })
    expect((await act('disable')).status).toBe(202)
    expect(await act('enable', 'found')).toMatchObject({ status: 202, body: { incident: null } })
    expect((await api.call('DELETE', `/groups/${groupId}`)).body).toMatchObject({
      usedBy: { incidents: 1 },
    })
    expect((await act('disable', '')).status).toBe(400)
    expect((await act('revoke')).status).toBe(400)
  })

  test('a device is disabled and enabled; a viewer may only look', async () => {
    const id = await register()
    const act = async (action: string, key = api.keys.operator.secret) =>
      await api.call('POST', `/devices/${id}/actions`, { action, reason: 'lost' }, { key })
    expect((await act('disable', api.keys.viewer.secret)).status).toBe(403)
    expect(await act('disable')).toMatchObject({ status: 200, body: { state: 'disabled' } })
    expect(await act('enable')).toMatchObject({ status: 200, body: { state: 'registered' } })
    expect((await act('explode')).status).toBe(400)
    for (const [method, path, body] of [
      ['POST', '/groups', { name: 'x' }],
      ['POST', '/devices', { serialNumber: 'x' }],
      ['PUT', `/groups/${id}/devices/${id}`, undefined],
    ] as const) {
      expect((await api.call(method, path, body, { key: api.keys.viewer.secret })).status).toBe(403)
    }
  })
})

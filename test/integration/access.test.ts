import { expect } from 'vitest'

import { createAuthenticator } from '../../server/operators/authenticate.ts'
import type { TestApi } from '../support/api.ts'
import { type DatabaseWorld, onBothDatabases } from '../support/both-databases.ts'
import { StatementCounter } from '../support/rollout-world.ts'

const onBoth = onBothDatabases()
let count = 0
const unique = (word: string) => `${word}-${++count}`

async function givenGroup(api: TestApi): Promise<string> {
  return String((await api.call('POST', '/groups', { name: unique('group') })).body['id'])
}

async function givenKey(api: TestApi, role: string, groupIds: string[] = []) {
  const made = await api.call('POST', '/api-keys', { name: unique('key'), role, groupIds })
  expect(made.status, made.text).toBe(201)
  const id = String(made.body['id'])
  return { id, principal: `key:${id}`, key: String(made.body['secret']) }
}

async function givenRole(api: TestApi, permissions: string[], groupIds: string[] = []) {
  const name = unique('role')
  const made = await api.call('POST', '/roles', { name, permissions, groupIds })
  expect(made.status, made.text).toBe(201)
  return name
}

const auditOf = async ({ handle }: DatabaseWorld, subject: string) =>
  await handle.db
    .selectFrom('audit_event')
    .select(['action', 'actor', 'facts'])
    .where('subject', '=', subject)
    .orderBy('seq')
    .execute()

onBoth('a role of one’s own is made, given, changed and taken, each recorded', async (world) => {
  const { api } = world
  const name = await givenRole(api, ['devices:read', 'self:read', 'devices:read'])
  const { key, principal } = await givenKey(api, name)
  const status = async (path: string) => (await api.call('GET', path, undefined, { key })).status
  expect(await status('/devices')).toBe(200)
  expect(await status('/releases')).toBe(403)
  const body = { permissions: ['releases:read'], description: 'reads releases' }
  expect(await api.call('PUT', `/roles/${name}`, body)).toMatchObject({
    status: 200,
    body: { name, builtIn: false, holders: 1, ...body },
  })
  // From the next request on.
  expect(await status('/devices')).toBe(403)
  expect(await status('/releases')).toBe(200)
  expect(await api.call('DELETE', `/roles/${name}`)).toMatchObject({
    status: 409,
    body: { holders: 1 },
  })
  expect((await api.call('PUT', `/grants/${principal}`, { grants: [] })).status).toBe(200)
  expect(await status('/releases')).toBe(403)
  expect((await api.call('DELETE', `/roles/${name}`)).status).toBe(204)
  expect((await api.call('GET', `/roles/${name}`)).status).toBe(404)
  const admin = `key:${api.keys.admin.id}`
  expect(await auditOf(world, name)).toMatchObject([
    { action: 'role.create', actor: admin, facts: { permissions: ['devices:read', 'self:read'] } },
    {
      action: 'role.change',
      facts: { from: { permissions: ['devices:read', 'self:read'] }, to: body },
    },
    { action: 'role.delete' },
  ])
  expect(await auditOf(world, principal)).toMatchObject([
    { action: 'grant.set', facts: { from: [], to: [{ role: name, groupIds: [] }] } },
    { action: 'grant.set', facts: { from: [{ role: name, groupIds: [] }], to: [] } },
  ])
})

onBoth('roles: what is refused', async ({ api }) => {
  const name = await givenRole(api, ['devices:read'])
  const permissions = ['devices:read']
  const post = async (body: object) => (await api.call('POST', '/roles', body)).status
  expect(await post({ name: 'admin', permissions })).toBe(409)
  expect(await post({ name, permissions: ['releases:read'] })).toBe(409)
  // Twice the same is once.
  expect(await post({ name, permissions })).toBe(201)
  expect(await post({ name: 'Has Spaces', permissions })).toBe(400)
  expect(await post({ name: unique('x'), permissions: ['devices:fly'] })).toBe(400)
  expect(await post({ name: unique('x'), permissions: [] })).toBe(400)
  const groupIds = ['01890000-0000-7000-8000-00000000ffff']
  expect(await post({ name: unique('x'), permissions, groupIds })).toBe(400)
  expect((await api.call('PUT', '/roles/admin', { permissions })).status).toBe(409)
  expect((await api.call('DELETE', '/roles/viewer')).status).toBe(409)
  expect((await api.call('PUT', `/roles/${unique('none')}`, { permissions })).status).toBe(404)
})

onBoth('the lists say who may do what', async ({ api }) => {
  const name = await givenRole(api, ['devices:read'])
  const { principal, id } = await givenKey(api, name)
  const roles = (await api.call('GET', '/roles')).body.items ?? []
  expect(roles.find((role) => role['name'] === 'admin')).toMatchObject({ builtIn: true })
  expect(roles.find((role) => role['name'] === name)).toMatchObject({ holders: 1, builtIn: false })
  const permissions = (await api.call('GET', '/permissions')).body.items ?? []
  expect(permissions.find(({ permission }) => permission === 'devices:read')).toMatchObject({
    roles: expect.arrayContaining(['admin', 'viewer', name]),
  })
  const holders = await api.call('GET', `/grants?role=${name}`)
  expect(holders.body.items).toMatchObject([{ principal, active: true, grants: [{ role: name }] }])
  expect((await api.call('GET', `/grants/${principal}`)).body).toEqual(holders.body.items?.[0])
  await api.call('DELETE', `/api-keys/${id}`)
  expect((await api.call('GET', `/grants/${principal}`)).body).toMatchObject({ active: false })
  const first = (await api.call('GET', '/grants?limit=1')).body
  const next = await api.call('GET', `/grants?limit=1&cursor=${String(first['nextCursor'])}`)
  expect(next.body.items).toHaveLength(1)
  expect(next.body.items).not.toEqual(first.items)
  const none = 'key:01890000-0000-7000-8000-00000000ffff'
  expect((await api.call('GET', `/grants/${none}`)).status).toBe(404)
  expect((await api.call('PUT', `/grants/${none}`, { grants: [] })).status).toBe(404)
  expect((await api.call('GET', '/grants/nobody')).status).toBe(400)
})

onBoth('the groups of a role and of a grant both narrow', async ({ api }) => {
  const [a, b] = [await givenGroup(api), await givenGroup(api)]
  const role = await givenRole(api, ['self:read', 'devices:read'], [a])
  const { key } = await givenKey(api, role, [b])
  const me = await api.call('GET', '/operators/me', undefined, { key })
  expect(me.body).toMatchObject({ grants: [{ role, groupIds: [a, b].toSorted() }] })
})

onBoth(
  'a group that a right names is not removed, since the right would say less',
  async (world) => {
    const { api } = world
    const [a, b] = [await givenGroup(api), await givenGroup(api)]
    await givenRole(api, ['devices:read'], [a])
    const { principal, key } = await givenKey(api, 'viewer', [b])
    expect(await api.call('DELETE', `/groups/${a}`)).toMatchObject({
      status: 409,
      body: { usedBy: { roles: 1 } },
    })
    expect(await api.call('DELETE', `/groups/${b}`)).toMatchObject({
      body: { usedBy: { grants: 1 } },
    })
    // One that vanishes all the same leaves a right to nothing.
    await world.handle.db.deleteFrom('device_group').where('id', '=', b).execute()
    expect((await api.call('GET', `/grants/${principal}`)).body).toMatchObject({
      grants: [{ role: 'viewer', groupIds: [b] }],
    })
    expect((await api.call('GET', '/audit', undefined, { key })).status).toBe(403)
    expect((await api.call('GET', '/devices', undefined, { key })).body.items).toEqual([])
  },
)

onBoth('nobody gives what he has not', async ({ api }) => {
  const [a, b] = [await givenGroup(api), await givenGroup(api)]
  const manager = await givenRole(api, ['operators:manage', 'operators:read', 'self:read'])
  const limited = await givenRole(api, ['devices:read', 'operators:read'], [a])
  const { key, principal } = await givenKey(api, manager)
  const grants = [{ role: manager }, { role: limited }]
  expect((await api.call('PUT', `/grants/${principal}`, { grants })).status).toBe(200)
  const other = await givenKey(api, 'signer')
  const status = async (method: string, path: string, body: object) =>
    (await api.call(method, path, body, { key })).status
  const role = (permissions: string[], groupIds: string[] = []) => ({
    name: unique('given'),
    permissions,
    groupIds,
  })
  // More permissions, or the same in more places, by every way there is.
  expect(await status('POST', '/api-keys', { name: 'x', role: 'viewer' })).toBe(403)
  expect(await status('POST', '/roles', role(['devices:read']))).toBe(403)
  expect(await status('POST', '/roles', role(['devices:read'], [b]))).toBe(403)
  expect(await status('PUT', `/roles/${limited}`, { permissions: ['devices:read'] })).toBe(403)
  expect(
    await status('PUT', `/grants/${principal}`, { grants: [...grants, { role: 'admin' }] }),
  ).toBe(403)
  expect(await status('PUT', `/grants/${other.principal}`, { grants: [{ role: 'viewer' }] })).toBe(
    403,
  )
  expect(
    await status('PUT', `/grants/${other.principal}`, {
      grants: [{ role: 'signer', groupIds: [a] }],
    }),
  ).toBe(403)
  // What he has, and less of it; what somebody has from others stays.
  expect(await status('POST', '/api-keys', { name: 'x', role: manager })).toBe(201)
  expect(await status('POST', '/roles', role(['devices:read'], [a, b]))).toBe(201)
  expect(
    await status('PUT', `/grants/${other.principal}`, {
      grants: [{ role: 'signer' }, { role: limited, groupIds: [b] }],
    }),
  ).toBe(200)
})

onBoth('the last administrator stays, whatever is tried at the same moment', async (world) => {
  const { api, handle } = world
  const admin = `key:${api.keys.admin.id}`
  await handle.db
    .updateTable('api_key')
    .set({ revoked_at: api.ctx.clock.now() })
    .where('id', 'in', (eb) =>
      eb
        .selectFrom('access_grant')
        .select((one) =>
          one.cast<string>(one.fn('substr', ['principal', one.val(5)]), 'uuid').as('id'),
        )
        .where('role', '=', 'admin')
        .where('principal', '<>', admin),
    )
    .execute()
  const group = await givenGroup(api)
  const put = async (principal: string, grants: object[]) =>
    (await api.call('PUT', `/grants/${principal}`, { grants })).status
  expect(await put(admin, [])).toBe(409)
  expect(await put(admin, [{ role: 'admin', groupIds: [group] }])).toBe(409)
  expect((await api.call('DELETE', `/api-keys/${api.keys.admin.id}`)).status).toBe(409)
  const second = await givenKey(api, 'admin')
  const results = await Promise.all([
    put(admin, [{ role: 'viewer' }]),
    api.call('DELETE', `/api-keys/${second.id}`, undefined, { key: second.key }),
  ])
  const statuses = results.map((one) => (typeof one === 'number' ? one : one.status))
  expect(statuses.filter((status) => status < 300)).toHaveLength(1)
  // The one who is left gives it back, for the tests after this one.
  const left = statuses[0] === 409 ? api.keys.admin.secret : second.key
  const grants = [{ role: 'admin' }]
  expect((await api.call('PUT', `/grants/${admin}`, { grants }, { key: left })).status).toBe(200)
})

onBoth('grants are bounded, and the same again changes and records nothing', async (world) => {
  const { api } = world
  const { principal } = await givenKey(api, 'viewer')
  const put = async (grants: object[]) => await api.call('PUT', `/grants/${principal}`, { grants })
  const groups = []
  for (let n = 0; n < 21; n++) groups.push(await givenGroup(api))
  expect((await put([{ role: 'viewer', groupIds: groups }])).status).toBe(400)
  expect((await put([{ role: 'viewer', groupIds: groups.slice(1) }])).status).toBe(200)
  expect((await put(groups.map((id) => ({ role: 'viewer', groupIds: [id] })))).status).toBe(400)
  expect((await put([{ role: 'nobody' }])).status).toBe(400)
  const before = (await auditOf(world, principal)).length
  expect((await put([{ role: 'viewer', groupIds: groups.slice(1).toReversed() }])).status).toBe(200)
  expect((await auditOf(world, principal)).length).toBe(before)
})

onBoth('who a key is and what it may do is one statement', async ({ api, handle }) => {
  const [a, b] = [await givenGroup(api), await givenGroup(api)]
  const own = await givenRole(api, ['devices:read'], [a])
  const { key, principal } = await givenKey(api, own, [b])
  const grants = [{ role: own, groupIds: [b] }, { role: 'signer' }]
  expect((await api.call('PUT', `/grants/${principal}`, { grants })).status).toBe(200)
  await api.call('GET', '/operators/me', undefined, { key })
  const counter = new StatementCounter()
  const authenticate = createAuthenticator({ ...api.ctx, db: handle.db.withPlugin(counter) })
  const request = { socket: {}, get: () => `Bearer ${key}` } as unknown
  const spent = await counter.during(
    async () => await authenticate(request as Parameters<typeof authenticate>[0]),
  )
  expect(spent).toBe(1)
})

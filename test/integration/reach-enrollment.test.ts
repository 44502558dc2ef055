import { afterAll, beforeAll, expect, test } from 'vitest'

import { toPem } from '../../pki/pem.ts'
import { certificateRoutes } from '../../server/certificates/routes.ts'
import type { Context } from '../../server/context.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { ddiRoutes } from '../../server/ddi/routes.ts'
import { deviceRoutes } from '../../server/devices/routes.ts'
import { subjectHash } from '../../server/enrollment/anchors.ts'
import { approvalRoutes } from '../../server/enrollment/approval-routes.ts'
import { batchRoutes } from '../../server/enrollment/batch-routes.ts'
import { workOnBatches } from '../../server/enrollment/batch.ts'
import { credentialRoutes } from '../../server/enrollment/credential-routes.ts'
import { estPolicyRoutes } from '../../server/enrollment/est-policy-routes.ts'
import { profileIssuerRoutes } from '../../server/enrollment/issuer-routes.ts'
import { keyBundleRoutes } from '../../server/enrollment/key-bundle-routes.ts'
import { registrationRoutes } from '../../server/enrollment/registration-routes.ts'
import { enrollmentRoutes } from '../../server/enrollment/routes.ts'
import { findProfilesByAnchor } from '../../server/enrollment/store.ts'
import { groupRoutes } from '../../server/groups/routes.ts'
import { newId } from '../../server/ids.ts'
import { scepRoutes } from '../../server/scep/routes.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  createIdentityWorld,
  type Enrolled,
  type IdentityWorld,
  newRequest,
  unique,
} from '../support/identity-world.ts'
import { createManufacturer } from '../support/manufacturer.ts'
import { answersAlike, serveScoped } from '../support/scoped.ts'

/** Two lines, each into a group of its own; Ada is limited to the first group. */
let handle: DatabaseHandle
let world: IdentityWorld
let server: Awaited<ReturnType<typeof serveScoped>>
let mine: { id: string; name: string; groupId: string }
let theirs: { id: string; name: string; groupId: string }
const devices: { mine?: Enrolled; theirs?: Enrolled } = {}
const ada = async (method: string, path: string, body?: unknown) =>
  await server.as([[mine.groupId]])(method, path, body)
const fleet = async (method: string, path: string, body?: unknown) =>
  await server.as('fleet')(method, path, body)
const missing = () => newId(world.ctx.clock.now())
const csv = (...csrs: Buffer[]) =>
  ['csr', ...csrs.map((csr) => csr.toString('base64')), ''].join('\n')

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  server = await serveScoped(world.ctx as unknown as Context, [
    ...deviceRoutes,
    ...groupRoutes,
    ...certificateRoutes,
    ...enrollmentRoutes,
    ...batchRoutes,
    ...approvalRoutes,
    ...registrationRoutes,
    ...estPolicyRoutes,
    ...profileIssuerRoutes,
    ...credentialRoutes,
    ...keyBundleRoutes,
    ...scepRoutes,
    ...ddiRoutes,
  ])
  mine = await world.givenProfile({ approval: 'manual' })
  theirs = await world.givenProfile({ approval: 'manual' })
  const line = async (groupId: string) => await world.givenProfile({ groupId })
  devices.mine = await world.givenDevice({ profile: await line(mine.groupId) })
  devices.theirs = await world.givenDevice({ profile: await line(theirs.groupId) })
})

afterAll(async () => {
  server[Symbol.dispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

test('the profiles are those whose devices go into the group', async () => {
  const names = async (call: typeof ada) =>
    (await call('GET', '/enrollment-profiles')).body.items.map(
      (one: { groupId: string }) => one.groupId,
    )
  expect(await names(ada)).toEqual([mine.groupId, mine.groupId])
  expect(await names(fleet)).toHaveLength(4)
})

test('a profile of another group is not found, whatever is asked of it', async () => {
  const ids = { outside: theirs.id, missing: missing() }
  const est = (await fleet('GET', `/enrollment-profiles/${theirs.id}/est`)).body
  const csr = newRequest(unique('SN')).csr
  for (const [method, path, body] of [
    ['GET', ''],
    ['POST', '/actions', { action: 'pause' }],
    ['GET', '/tokens'],
    ['POST', '/tokens', {}],
    ['DELETE', `/tokens/${missing()}`],
    ['GET', '/credentials'],
    ['POST', '/claims', { certificate: toPem('CERTIFICATE', csr), maxUses: 1 }],
    ['GET', '/est'],
    ['PUT', '/est', { renewal: { opensPercent: 50 } }],
    ['PUT', '/issuer', { series: null }],
    ['GET', '/ddi'],
    ['PUT', '/ddi', { model: 'cam', hardwareIds: ['cam'] }],
    ['DELETE', '/ddi'],
    ['GET', '/scep'],
    ['PUT', '/scep', { enabled: true }],
    ['GET', '/scep-challenges'],
    ['POST', '/scep-challenges', { serialNumber: 'SN' }],
    ['DELETE', `/scep-challenges/${missing()}`],
    ['POST', '/registrations', 'serialNumber\nSN-1\n'],
    ['POST', '/batches', csv(csr)],
  ] as const) {
    const answer = await answersAlike(ada, method, (id) => `/enrollment-profiles/${id}${path}`, {
      ...ids,
      body,
    })
    expect(answer.status, `${method} ${path}`).toBe(404)
  }
  expect((await fleet('GET', `/enrollment-profiles/${theirs.id}`)).body.pausedAt).toBeNull()
  expect((await fleet('GET', `/enrollment-profiles/${theirs.id}/est`)).body).toEqual(est)
  expect((await fleet('GET', `/enrollment-profiles/${theirs.id}/tokens`)).body.items).toEqual([])
})

test('one of her own group is made, read and changed', async () => {
  const body = { name: unique('line'), auth: { type: 'token' }, registration: 'just-in-time' }
  const other = await ada('POST', '/enrollment-profiles', { ...body, groupId: theirs.groupId })
  expect(other.status).toBe(404)
  const made = await ada('POST', '/enrollment-profiles', { ...body, groupId: mine.groupId })
  expect(made.status).toBe(201)
  const path = `/enrollment-profiles/${made.body.id}`
  for (const [method, rest, sent, status] of [
    ['GET', '', undefined, 200],
    ['POST', '/actions', { action: 'pause' }, 200],
    ['POST', '/actions', { action: 'resume' }, 200],
    ['POST', '/tokens', {}, 201],
    ['GET', '/tokens', undefined, 200],
    ['GET', '/credentials', undefined, 200],
    ['PUT', '/est', { renewal: { opensPercent: 50 } }, 200],
    ['GET', '/est', undefined, 200],
    ['PUT', '/issuer', { series: null }, 200],
    ['GET', '/scep', undefined, 200],
    ['POST', '/scep-challenges', { serialNumber: 'SN' }, 201],
    ['GET', '/scep-challenges', undefined, 200],
    ['POST', '/registrations', `serialNumber\n${unique('SN')}\n`, 200],
  ] as const) {
    expect((await ada(method, path + rest, sent)).status, `${method} ${rest}`).toBe(status)
  }
})

test('certificates are those of devices in the group; those of no device are the whole fleet’s', async () => {
  const [own, other] = [devices.mine, devices.theirs]
  const certificate = { outside: other?.certificateId ?? '', missing: missing() }
  const body = { action: 'revoke', reason: 'keyCompromise' }
  await answersAlike(ada, 'GET', (id) => `/certificates/${id}`, certificate)
  const path = (id: string) => `/certificates/${id}/actions`
  expect((await answersAlike(ada, 'POST', path, { ...certificate, body })).status).toBe(404)
  const device = { outside: other?.deviceId ?? '', missing: missing() }
  await answersAlike(ada, 'GET', (id) => `/devices/${id}/certificates`, device)
  const server_ = await world.ctx.db
    .selectFrom('certificate')
    .select('id')
    .where('device_id', 'is', null)
    .limit(1)
    .execute()
  for (const { id } of server_) {
    expect((await ada('GET', `/certificates/${id}`)).status).toBe(404)
    expect((await fleet('GET', `/certificates/${id}`)).status).toBe(200)
  }
  expect((await fleet('GET', `/certificates/${other?.certificateId}`)).body.state).toBe('issued')
  expect((await ada('GET', `/devices/${own?.deviceId}/certificates`)).body.items).toHaveLength(1)
  const hold = await ada('POST', path(own?.certificateId ?? ''), { action: 'hold' })
  expect(hold.body.state).toBe('held')
  await ada('POST', path(own?.certificateId ?? ''), { action: 'release' })
})

test('nobody makes keys or tokens for a device of others, or asks how it polls', async () => {
  const ids = { outside: devices.theirs?.deviceId ?? '', missing: missing() }
  for (const [method, path, body] of [
    ['POST', '/key-bundles', {}],
    ['GET', '/ddi'],
    ['PUT', '/ddi', { controllerId: 'board-1' }],
    ['POST', '/ddi/token', { reason: 'no TLS' }],
    ['DELETE', '/ddi/token'],
  ] as const) {
    const answer = await answersAlike(ada, method, (id) => `/devices/${id}${path}`, {
      ...ids,
      body,
    })
    expect(answer.status, path).toBe(404)
  }
  const own = devices.mine?.deviceId
  expect((await ada('POST', `/devices/${own}/key-bundles`, {})).status).toBe(201)
})

test('files of requests and requests that wait are those of her profiles', async () => {
  const [a, b] = [newRequest(unique('SN')), newRequest(unique('SN'))]
  const own = (await ada('POST', `/enrollment-profiles/${mine.id}/batches`, csv(a.csr))).body.id
  const other = (await fleet('POST', `/enrollment-profiles/${theirs.id}/batches`, csv(b.csr))).body
    .id
  while (await workOnBatches(world.ctx));
  const listed = async (call: typeof ada) =>
    (await call('GET', '/enrollment-batches')).body.items.map((one: { id: string }) => one.id)
  expect(await listed(ada)).toEqual([own])
  expect(new Set(await listed(fleet))).toEqual(new Set([other, own]))
  const ids = { outside: other, missing: missing() }
  await answersAlike(ada, 'GET', (id) => `/enrollment-batches/${id}`, ids)
  await answersAlike(ada, 'GET', (id) => `/enrollment-batches/${id}/rows`, ids)
  const rows = async (call: typeof ada) =>
    (await call('GET', `/enrollment-batches/${own}/rows`)).body.items
  expect(await rows(ada)).toMatchObject([{ state: 'issued', serialNumber: expect.any(String) }])
  // The device goes to others: its row stays, and says nothing of it any more.
  const { id } = (await ada('GET', '/devices?query=' + (await rows(ada))[0].serialNumber)).body
    .items[0]
  await fleet('DELETE', `/groups/${mine.groupId}/devices/${id}`)
  const nothing = { serialNumber: null, certificate: null, fingerprint: null }
  expect(await rows(ada)).toMatchObject([{ state: 'issued', ...nothing }])
  expect(await rows(fleet)).toMatchObject([{ certificate: expect.any(String) }])
})

test('requests that wait are decided by those who cover the group', async () => {
  const waiting = async (profileId: string) => {
    const token = await world.givenToken(profileId)
    await expect(world.enrollWith(token, newRequest(unique('SN')).csr)).rejects.toMatchObject({
      code: 'not-ready',
    })
    return (await fleet('GET', `/enrollment-requests?profileId=${profileId}`)).body.items[0].id
  }
  const [own, other] = [await waiting(mine.id), await waiting(theirs.id)]
  const listed = async (call: typeof ada, query = '') =>
    (await call('GET', `/enrollment-requests${query}`)).body.items.map(
      (one: { id: string }) => one.id,
    )
  expect(await listed(ada)).toEqual([own])
  expect(await listed(ada, `?profileId=${theirs.id}`)).toEqual([])
  expect(await listed(fleet)).toHaveLength(2)
  const ids = { outside: other, missing: missing() }
  await answersAlike(ada, 'GET', (id) => `/enrollment-requests/${id}`, ids)
  const body = { action: 'approve' }
  const act = (id: string) => `/enrollment-requests/${id}/actions`
  expect((await answersAlike(ada, 'POST', act, { ...ids, body })).status).toBe(404)
  expect((await ada('POST', act(own), body)).body.state).toBe('approved')
})

test('with a token of hers nobody becomes a device of others, registered or enrolled', async () => {
  const profile = (
    await ada('POST', '/enrollment-profiles', {
      name: unique('line'),
      auth: { type: 'token' },
      registration: 'just-in-time',
      replaceable: 'on',
      groupId: mine.groupId,
    })
  ).body
  const { token } = (await ada('POST', `/enrollment-profiles/${profile.id}/tokens`, {})).body
  const enroll = async (secret: string, serialNumber: string) =>
    await world.enrollWith(secret, newRequest(serialNumber).csr)
  const refused = { code: 'not-allowed' }
  const [foreign, own, found] = [unique('SN'), unique('SN'), unique('SN')]
  await fleet('POST', '/devices', { serialNumber: foreign, groupId: theirs.groupId })
  await ada('POST', '/devices', { serialNumber: own, groupId: mine.groupId })
  await expect(enroll(token, foreign)).rejects.toMatchObject(refused)
  await enroll(token, own)
  await enroll(token, found)
  // One that was moved to others enrolls no more with it, not even anew; with one of the fleet's it does.
  const { id } = (await ada('GET', `/devices?query=${found}`)).body.items[0]
  await enroll(token, found)
  await fleet('PUT', `/groups/${theirs.groupId}/devices/${id}`)
  await fleet('DELETE', `/groups/${mine.groupId}/devices/${id}`)
  await expect(enroll(token, found)).rejects.toMatchObject(refused)
  const open = await world.givenProfile({ groupId: theirs.groupId })
  await enroll(await world.givenToken(open.id), foreign)
})

test('what she registers from a file she sees, and of a serial number that others have only that it is taken', async () => {
  const [fresh, foreign] = [unique('SN'), unique('SN')]
  await fleet('POST', '/devices', { serialNumber: foreign, groupId: theirs.groupId })
  const path = `/enrollment-profiles/${mine.id}/registrations`
  const file = `serialNumber\n${fresh}\n${foreign}\n${devices.theirs?.serialNumber}\n`
  const first = await ada('POST', path, file)
  expect(first.body).toMatchObject({ registered: 1, unchanged: 0, refused: 2 })
  const [one, two] = first.body.errors
  expect(one.message).toBe(two.message)
  expect((await ada('GET', `/devices?query=${fresh}`)).body.items).toHaveLength(1)
  expect((await ada('POST', path, file)).body).toMatchObject({ unchanged: 1, refused: 2 })
})

test('a profile of hers for certificates of a manufacturer stands in the way of nobody: its devices name it', async () => {
  const maker = await createManufacturer()
  const auth = { type: 'certificate', trustAnchors: [maker.pem.root] }
  const body = { auth, registration: 'just-in-time' }
  const [hers, theirs_] = [unique('line'), unique('line')]
  await ada('POST', '/enrollment-profiles', { ...body, name: hers, groupId: mine.groupId })
  await fleet('POST', '/enrollment-profiles', { ...body, name: theirs_, groupId: theirs.groupId })
  const issuers = [subjectHash(maker.root.certificate.subject)]
  const found = async (name?: string) =>
    (await findProfilesByAnchor(world.ctx.db, { issuers, name })).map((one) => one.name)
  expect(await found()).toEqual([theirs_])
  expect(await found(hers)).toEqual([hers])
})

test('a question about the profile of a device finds only profiles that she may see', async () => {
  const line = await world.givenProfile({ groupId: theirs.groupId })
  const { deviceId } = await world.givenDevice({ profile: line })
  await fleet('PUT', `/groups/${mine.groupId}/devices/${deviceId}`)
  const found = async (call: typeof ada, query: string) =>
    (await call('GET', `/devices?${new URLSearchParams({ query }).toString()}`)).body.items.length
  const asked = `id = "${deviceId}" and `
  for (const [query, seen] of [
    [`enrollmentProfile = "${line.name}"`, 0],
    ['enrollmentProfile exists', 0],
    [`enrollmentProfile != "${line.name}"`, 1],
  ] as const) {
    expect(await found(ada, asked + query), query).toBe(seen)
    expect(await found(fleet, asked + query), query).toBe(1 - seen)
  }
})

import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'

import express from 'express'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { ConnectionIndex } from '../../server/connections.ts'
import type { Context } from '../../server/context.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { ddiRouter } from '../../server/ddi/router.ts'
import { targetTokens } from '../../server/ddi/token-auth.ts'
import { createToken, removeToken } from '../../server/ddi/token-service.ts'
import { getDevice } from '../../server/devices/store.ts'
import { deviceAuth, requireDevice } from '../../server/http/device-auth.ts'
import { renderProblem } from '../../server/http/problem.ts'
import { newId } from '../../server/ids.ts'
import { createTestDatabase } from '../support/database.ts'
import { type DdiWorld, ddiWorld, givenClient, givenUpdate, Polling } from '../support/ddi-world.ts'
import { givenDevices, givenGroup } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: DdiWorld
let ctx: Context
let base: string
const stack = new AsyncDisposableStack()
beforeAll(async () => {
  handle = stack.use(await createTestDatabase())
  world = stack.use(await ddiWorld(handle))
  await givenClient(world, 'swupdate')
  ctx = Object.assign(world.ctx, {
    connections: new ConnectionIndex(),
    identities: { sweep: async () => {}, ready: () => true },
    config: { ...world.ctx.config, targetTokens: true },
  }) as Context
  base = await listen(ctx)
})
afterAll(() => stack.disposeAsync())

/** The device's listener, without certificates. */
async function listen(deps: Context): Promise<string> {
  const app = express()
  const ddi = ddiRouter(deps)
  app.use(deviceAuth(deps))
  app.use(targetTokens(deps, ddi))
  app.use(requireDevice)
  app.use(ddi)
  app.use((_req, res) => void res.json({ passed: true }))
  app.use(renderProblem)
  const server = createServer(app)
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  stack.defer(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const by = { actor: 'key:test', requestId: 'r' }
const body = {
  reason: 'old modem',
  despiteCertificate: false,
  model: 'gate-2',
  hardwareIds: ['rev-a'],
}

async function givenRegistered() {
  const groupId = await givenGroup(world)
  const blank = { state: 'registered' as const, model: null, hardware_ids: [], installed: [] }
  const [id = ''] = await givenDevices(world, groupId, 1, blank)
  return { id, groupId }
}

async function givenBearer() {
  const { id, groupId } = await givenRegistered()
  return { id, groupId, token: await createToken(ctx, { deviceId: id, body, ...by }) }
}

interface Answered {
  status: number
  retryAfter: string | undefined
  json: unknown
}

/** Each time over a connection of its own, as different devices have. */
async function get(url: string, token: string): Promise<Answered> {
  const headers = { Authorization: `TargetToken ${token}` }
  const { promise, resolve, reject } = Promise.withResolvers<Answered>()
  const sent = request(url, { agent: false, headers })
  sent.on('error', reject)
  sent.on('response', (response) => {
    const parts: Buffer[] = []
    response.on('data', (part: Buffer) => parts.push(part))
    response.on('end', () => {
      const { statusCode: status = 0, headers: answered } = response
      const json: unknown = JSON.parse(Buffer.concat(parts).toString())
      resolve({ status, retryAfter: answered['retry-after'], json })
    })
  })
  sent.end()
  return await promise
}

const ask = async (token: string, id: string, path = '', at = base) =>
  await get(`${at}/DEFAULT/controller/v1/${id}${path}`, token)

test('a device without a certificate becomes active by its token, polls, and is offered what others are', async () => {
  const { id, groupId, token } = await givenBearer()
  const first = await ask(token, id)
  expect(first).toMatchObject({ status: 200, json: { _links: { configData: {} } } })
  await givenUpdate(new Polling(world, id, groupId))
  const { json } = await ask(token, id)
  expect(JSON.stringify(json)).toContain('/deploymentBase/1000000001?')
  // It is a weakness, and to be seen.
  expect(await getDevice(world.db, id, 'fleet')).toMatchObject({ state: 'active', has_token: true })
  const audit = await world.db
    .selectFrom('audit_event')
    .select(['action', 'facts'])
    .where('subject', '=', id)
    .execute()
  expect(audit).toMatchObject([
    { action: 'ddi.token', facts: { reason: 'old modem', weakness: 'no certificate' } },
  ])
})

test('the token is kept nowhere, and the next one takes its place', async () => {
  const { id, token } = await givenBearer()
  const row = await world.db
    .selectFrom('ddi_token')
    .selectAll()
    .where('device_id', '=', id)
    .executeTakeFirstOrThrow()
  expect(JSON.stringify(row)).not.toContain(token)
  expect(row.hash).toHaveLength(32)
  const next = await createToken(ctx, {
    deviceId: id,
    body: { reason: 'lost', despiteCertificate: false },
    ...by,
  })
  expect((await ask(token, id)).status).toBe(401)
  expect((await ask(next, id)).status).toBe(200)
})

test('off unless the server is told otherwise: none is made, and none is looked at', async () => {
  const { id, token } = await givenBearer()
  const off = { ...ctx, config: { ...ctx.config, targetTokens: false } }
  const made = createToken(off, { deviceId: id, body, ...by })
  await expect(made).rejects.toMatchObject({ code: 'not-ready' })
  expect((await ask(token, id, '', await listen(off))).status).toBe(403)
  expect((await ask(token, id)).status).toBe(200)
})

test('it opens the polling interface of its own device and nothing else', async () => {
  const { token } = await givenBearer()
  const other = await givenBearer()
  expect((await ask(token, other.id)).status).toBe(403)
  expect((await ask(token, other.id, '/deploymentBase/1000000001')).status).toBe(403)
  for (const path of ['/artifacts/00', '/tuf/director/root.json', '/DEFAULT/controller/v2/x']) {
    expect((await get(`${base}${path}`, token)).status).toBe(403)
  }
})

test('a certificate that was shown decides alone, whatever token comes with it', async () => {
  const { id, token } = await givenBearer()
  for (const status of ['refused', 'untrusted', 'allowed'] as const) {
    let isPassed = false
    let isHandled = false
    const edge = targetTokens(ctx, () => void (isHandled = true))
    const req = { path: `/DEFAULT/controller/v1/${id}`, get: () => `TargetToken ${token}` }
    const res = { locals: { clientCertificate: { status } } }
    await edge(req as never, res as never, () => void (isPassed = true))
    expect([isPassed, isHandled]).toEqual([true, false])
  }
})

test.each(['disabled', 'revoked', 'retired'] as const)('%s: refused at once', async (state) => {
  const { id, token } = await givenBearer()
  expect((await ask(token, id)).status).toBe(200)
  await world.db.updateTable('device').set({ state }).where('id', '=', id).execute()
  expect(await ask(token, id)).toMatchObject({
    status: 403,
    json: { refusal: `device-${state}` },
  })
  // Nor does it get a new one.
  await expect(createToken(ctx, { deviceId: id, body, ...by })).rejects.toMatchObject({
    code: 'illegal-transition',
  })
})

test('a group that an incident cut off, and an end of the token', async () => {
  const { id, groupId, token } = await givenBearer()
  const incident = newId(world.clock.now())
  const opened = { reason: 'stolen', opened_by: 'key:test', opened_at: world.clock.now() }
  await world.db
    .insertInto('incident')
    .values({ id: incident, group_id: groupId, ...opened })
    .execute()
  expect((await ask(token, id)).json).toMatchObject({ refusal: 'group-disabled' })
  await world.db
    .updateTable('incident')
    .set({ closed_at: world.clock.now() })
    .where('id', '=', incident)
    .execute()
  expect((await ask(token, id)).status).toBe(200)
  await removeToken(ctx, { deviceId: id, ...by })
  expect((await ask(token, id)).status).toBe(401)
  expect(await getDevice(world.db, id, 'fleet')).toMatchObject({ has_token: false })
})

test('its connections are known, so that a revocation ends them', async () => {
  const { id, token } = await givenBearer()
  const agent = new Agent({ keepAlive: true })
  const headers = { Authorization: `TargetToken ${token}` }
  const closed = Promise.withResolvers<void>()
  const sent = request(`${base}/DEFAULT/controller/v1/${id}`, { agent, headers })
  sent.on('response', (response) => {
    response.resume()
    response.socket.once('close', () => closed.resolve())
    response.on('end', () => void ctx.connections.drop(id))
  })
  sent.end()
  await closed.promise
  expect(ctx.connections.has(id)).toBe(false)
  agent.destroy()
})

test('one connection is for one device', async () => {
  const [one, two] = [await givenBearer(), await givenBearer()]
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const statuses: (number | undefined)[] = []
  for (const { id, token } of [one, one, two]) {
    const headers = { Authorization: `TargetToken ${token}` }
    const answer = Promise.withResolvers<number | undefined>()
    const sent = request(`${base}/DEFAULT/controller/v1/${id}`, { agent, headers })
    sent.on('error', answer.reject)
    sent.on('response', (response) => {
      response.resume()
      response.on('end', () => answer.resolve(response.statusCode))
    })
    sent.end()
    statuses.push(await answer.promise)
  }
  expect(statuses).toEqual([200, 200, 403])
  agent.destroy()
})

test('a device that has had a certificate needs a person who insists', async () => {
  const { id, token } = await givenBearer()
  await givenCertificate(id)
  expect((await ask(token, id)).json).toMatchObject({ refusal: 'has-certificate' })
  const plain = createToken(ctx, { deviceId: id, body, ...by })
  await expect(plain).rejects.toMatchObject({ code: 'not-allowed' })
  const insisted = { ...body, despiteCertificate: true }
  const next = await createToken(ctx, { deviceId: id, body: insisted, ...by })
  expect((await ask(next, id)).status).toBe(200)
})

async function givenCertificate(deviceId: string): Promise<void> {
  const now = world.clock.now()
  const authorityId = newId(now)
  await world.db
    .insertInto('authority')
    .values({
      id: authorityId,
      purpose: 'devices',
      name: authorityId,
      state: 'retired',
      issuer_id: null,
      certificate: Buffer.from('x'),
      wrapped_key: null,
      created_at: now,
    })
    .execute()
  await world.db
    .insertInto('certificate')
    .values({
      id: newId(now),
      authority_id: authorityId,
      serial: Buffer.from('0123456789'),
      kind: 'device',
      // Whatever became of it.
      state: 'superseded',
      device_id: deviceId,
      tbs: Buffer.from('t'),
      der: Buffer.from('d'),
      fingerprint: deviceId.replaceAll('-', '').repeat(2),
      subject: 'CN=x',
      not_before: now,
      not_after: now,
      revoked_at: null,
      revocation_reason: null,
      replaces_id: null,
      enrollment_token_id: null,
      spki_sha256: Buffer.alloc(32),
      request_key: null,
      created_at: now,
    })
    .execute()
}

test('nobody guesses: wrong ones are refused, counted and shut out, and shut no right one out', async () => {
  const { id, token } = await givenBearer()
  expect((await ask(token, id)).status).toBe(200)
  const wrong = `fst_${'A'.repeat(43)}`
  const statuses: number[] = []
  for (let n = 0; n < 40 && statuses.at(-1) !== 429; n++)
    statuses.push((await ask(wrong, id)).status)
  expect(statuses.slice(0, 3)).toEqual([401, 401, 401])
  const last = await ask(wrong, id)
  expect([last.status, last.retryAfter]).toEqual([429, '60'])
  expect((await ask('nonsense', id)).status).toBe(429)
  expect((await ask(token, id)).status).toBe(200)
})

test('what it is has to be known from somewhere', async () => {
  const { id } = await givenRegistered()
  const bare = { reason: 'x', despiteCertificate: false }
  const unsaid = createToken(ctx, { deviceId: id, body: bare, ...by })
  await expect(unsaid).rejects.toMatchObject({ code: 'not-ready' })
  const odd = createToken(ctx, { deviceId: id, body: { ...body, hardwareIds: ['rev-z'] }, ...by })
  await expect(odd).rejects.toMatchObject({ code: 'invalid-request' })
  // Nothing of it stands.
  expect(await getDevice(world.db, id, 'fleet')).toMatchObject({
    state: 'registered',
    has_token: false,
  })
})

import type { KeyObject } from 'node:crypto'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { buildCsr } from '../../pki/csr/build.ts'
import { generatePrivateKey } from '../../pki/keys.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { flushEvents } from '../../server/events/record.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  base64Lines,
  type EstAnswer,
  type EstCall,
  estClient,
  listenForDevices,
} from '../support/est-client.ts'
import {
  createIdentityWorld,
  type Enrolled,
  type IdentityWorld,
} from '../support/identity-world.ts'

let handle: DatabaseHandle
let world: IdentityWorld
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let est: (call: EstCall) => Promise<EstAnswer>
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  listeners = await listenForDevices(world.ctx)
  est = estClient(world.ctx, listeners.device.port)
})
afterAll(async () => {
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const newKey = () => generatePrivateKey('P-256')

function requestOf(device: Enrolled, key: KeyObject = newKey()): Buffer {
  const { subject } = parseCertificate(device.der)
  return buildCsr(key, { subject, uris: [`urn:uuid:${device.deviceId}`] })
}

/** The machine has all of 127.0.0.0/8: two of its halves are two networks. */
async function renewed(device: Enrolled, csr: Buffer, localAddress = '127.0.0.1') {
  const call = { path: 'simplereenroll', client: device, body: base64Lines(csr) }
  const answer = await est({
    ...call,
    tls: { host: '127.0.0.1', servername: 'localhost', localAddress },
  })
  expect(answer.status, answer.text).toBe(200)
}

async function kinds(deviceId: string): Promise<string[]> {
  await flushEvents(world.ctx)
  const rows = await handle.db
    .selectFrom('security_event')
    .select('kind')
    .where('device_id', '=', deviceId)
    .orderBy('id')
    .execute()
  return rows.map(({ kind }) => kind).filter((kind) => kind.startsWith('renewed-'))
}

test('a key that is kept is noted where the profile leaves that open, and not where it wants that', async () => {
  const device = await world.givenDevice()
  await renewed(device, requestOf(device))
  expect(await kinds(device.deviceId)).toEqual([])
  await renewed(device, requestOf(device, device.key))
  expect(await kinds(device.deviceId)).toEqual(['renewed-same-key'])

  const profile = await world.givenProfile()
  await world.givenEstPolicy(profile.id, { renewal: { opensPercent: 0, key: 'same' } })
  const keeps = await world.givenDevice({ profile })
  await renewed(keeps, requestOf(keeps, keeps.key))
  expect(await kinds(keeps.deviceId)).toEqual([])
})

test('the third renewal within an hour is told; the same request again is none', async () => {
  const device = await world.givenDevice()
  const csr = requestOf(device)
  for (let n = 0; n < 4; n++) await renewed(device, csr)
  await renewed(device, requestOf(device))
  expect(await kinds(device.deviceId)).toEqual([])
  await renewed(device, requestOf(device))
  expect(await kinds(device.deviceId)).toEqual(['renewed-too-often'])
})

test('two that renew from two networks within minutes are told, with where', async () => {
  const device = await world.givenDevice()
  await renewed(device, requestOf(device), '127.0.0.1')
  await renewed(device, requestOf(device), '127.77.0.1')
  expect(await kinds(device.deviceId)).toEqual(['renewed-elsewhere'])
  const { facts } = await handle.db
    .selectFrom('security_event')
    .select('facts')
    .where('device_id', '=', device.deviceId)
    .executeTakeFirstOrThrow()
  expect(facts).toMatchObject({ address: '127.77.0.1', otherAddress: '127.0.0.1' })
})

test('not a device that gets another address of its network, or repeats a request from where it came to', async () => {
  const near = await world.givenDevice()
  await renewed(near, requestOf(near), '127.0.0.1')
  await renewed(near, requestOf(near), '127.0.9.9')
  const repeats = await world.givenDevice()
  const csr = requestOf(repeats)
  await renewed(repeats, csr, '127.0.0.1')
  await renewed(repeats, csr, '127.77.0.1')
  for (const { deviceId } of [near, repeats]) expect(await kinds(deviceId)).toEqual([])
})

test('the audit row of a renewal says where it was asked for', async () => {
  const device = await world.givenDevice()
  await renewed(device, requestOf(device), '127.77.0.1')
  const row = await handle.db
    .selectFrom('audit_event')
    .select(['origin', 'request_id'])
    .where('actor', '=', `device:${device.deviceId}`)
    .executeTakeFirstOrThrow()
  expect(row.origin).toMatchObject({ address: '127.77.0.1', credential: 'device-certificate' })
  expect(row.request_id).not.toBeNull()
})

// The last one: what is issued after the clock went on is not valid yet for the TLS of this machine.
test('neither is one that moves and renews again a while later, or renews the third time in more than an hour', async () => {
  const moves = await world.givenDevice()
  await renewed(moves, requestOf(moves), '127.0.0.1')
  const often = await world.givenDevice()
  await renewed(often, requestOf(often))
  await renewed(often, requestOf(often))
  world.ctx.clock.advance({ seconds: 11 * 60 })
  await renewed(moves, requestOf(moves), '127.77.0.1')
  world.ctx.clock.advance({ seconds: 50 * 60 })
  await renewed(often, requestOf(often))
  for (const { deviceId } of [moves, often]) expect(await kinds(deviceId)).toEqual([])
})

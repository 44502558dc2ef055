import type { KeyObject } from 'node:crypto'
import https from 'node:https'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { findRevoked, parseCrl } from '../../pki/crl/parse.ts'
import { buildCsr } from '../../pki/csr/build.ts'
import { oids } from '../../pki/der/oids.ts'
import { generatePrivateKey, keyIdentifier, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { softwareSigner } from '../../pki/signer.ts'
import { newSerial, signCertificate } from '../../pki/x509/issue.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { buildTbs, deviceIdentity } from '../../pki/x509/profiles.ts'
import { revokeCertificate } from '../../server/certificates/revocation.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { actOnDevice, actOnGroup } from '../../server/incidents/service.ts'
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
  type WorldContext,
} from '../support/identity-world.ts'
import { publicClient, rawClient } from '../support/raw-client.ts'

const who = { reason: 'test', by: { id: 'key:test' } }

let handle: DatabaseHandle
let world: IdentityWorld
let ctx: WorldContext
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let est: (call: EstCall) => Promise<EstAnswer>
let raw: ReturnType<typeof rawClient>
let anybody: ReturnType<typeof publicClient>

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  ctx = world.ctx
  listeners = await listenForDevices(ctx)
  est = estClient(ctx, listeners.device.port)
  raw = rawClient(ctx, listeners.device.port)
  anybody = publicClient(listeners.public.port)
})
afterAll(async () => {
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

/** A request that carries the names of the current certificate, as RFC 7030 wants. */
function renewal(device: Enrolled, key: KeyObject = generatePrivateKey('P-256')): Buffer {
  const { subject } = parseCertificate(device.der)
  return buildCsr(key, { subject, uris: [`urn:uuid:${device.deviceId}`] })
}

const reenroll = (client: EstCall['client'], csr: Buffer, call: Partial<EstCall> = {}) =>
  est({ path: 'simplereenroll', client, body: base64Lines(csr), ...call })

/** Does this certificate open anything at all? 404 is the answer of somebody who was let in. */
const opens = async (client: EstCall['client'], call: Partial<EstCall> = {}) =>
  (await est({ path: '/nothing-here', client, ...call })).status === 404

describe('simplereenroll', () => {
  test('E13 the same key and another key; R7, A3 the old one ends when the new one was used', async () => {
    const device = await world.givenDevice()
    const same = await reenroll(device, renewal(device, device.key))
    expect([same.status, same.certificates.length]).toEqual([200, 1])
    const key = generatePrivateKey('P-256')
    const csr = renewal(device, key)
    const other = await reenroll(device, csr)
    expect(other.status).toBe(200)
    expect((await reenroll(device, csr)).text).toBe(other.text)
    const next = { key, der: other.certificates[0] ?? Buffer.alloc(0) }
    expect(parseCertificate(next.der).subject).toEqual(parseCertificate(device.der).subject)

    expect(await opens(device)).toBe(true)
    expect(await opens(next)).toBe(true)
    expect(await opens(device)).toBe(false)
    // A valid chain, but superseded.
    expect((await reenroll(device, renewal(device))).status).toBe(403)
    expect((await reenroll(next, renewal(device, key))).status).toBe(200)
    // The first renewal was never used: it ended when the second was issued.
    expect(await opens({ key: device.key, der: same.certificates[0] ?? Buffer.alloc(0) })).toBe(
      false,
    )
  })

  test('E12 other names, or none, are refused and change nothing', async () => {
    const device = await world.givenDevice()
    const key = generatePrivateKey('P-256')
    const { subject } = parseCertificate(device.der)
    for (const csr of [
      buildCsr(key, { subject }),
      buildCsr(key, { subject, uris: ['urn:uuid:00000000-0000-4000-8000-000000000000'] }),
      buildCsr(key, { subject, uris: [`urn:uuid:${device.deviceId}`, 'urn:x:y'] }),
      buildCsr(key, {
        subject: encodeName({ commonName: 'other' }),
        uris: [`urn:uuid:${device.deviceId}`],
      }),
    ]) {
      expect((await reenroll(device, csr)).status).toBe(400)
    }
    expect(await opens(device)).toBe(true)
    expect((await reenroll(device, renewal(device, key))).status).toBe(200)
  })
})

describe('simplereenroll: whose and which', () => {
  test('E10 without a certificate, A2 under the label of another line', async () => {
    const device = await world.givenDevice()
    const other = await world.givenProfile()
    expect((await reenroll(undefined, renewal(device))).status).toBe(403)
    const path = `${other.name}/simplereenroll`
    expect((await reenroll(device, renewal(device), { path })).status).toBe(403)
    const token = await world.givenToken(other.id)
    expect((await reenroll(undefined, renewal(device), { user: other.name, token })).status).toBe(
      403,
    )
  })

  test('two renewals at once leave one successor', async () => {
    const device = await world.givenDevice()
    await Promise.all([1, 2, 3].map(() => reenroll(device, renewal(device))))
    const rows = await ctx.db
      .selectFrom('certificate')
      .select(['id', 'state'])
      .where('device_id', '=', device.deviceId)
      .where('state', '=', 'issued')
      .execute()
    expect(rows.map((row) => row.id)).toContain(device.certificateId)
    expect(rows).toHaveLength(2)
  })

  test('E18 a challengePassword has to be the binding of this very connection, TLS 1.2, resumed and 1.3', async () => {
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const device = await world.givenDevice()
      const right = await raw.linked(device, version, (binding) => binding)
      expect(right).toEqual(version === 'TLSv1.2' ? [200, 200] : [200])
      const wrong = await raw.linked(device, version, (binding) => Buffer.alloc(binding.length))
      expect(new Set(wrong)).toEqual(new Set([400]))
    }
  })
})

describe('who gets in', () => {
  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'A1, A16, A17 after a revocation: %s connections end, sessions do not resume, nothing is answered',
    async (version) => {
      const device = await world.givenDevice()
      const bystander = await world.givenDevice()
      const tls = { minVersion: version, maxVersion: version }
      const agent = new https.Agent({ keepAlive: true, maxSockets: 1 })
      expect(await opens(device, { agent, tls })).toBe(true)
      expect(await opens(bystander, { agent: undefined as never, tls })).toBe(true)
      const open = await raw.session(device, version)
      await actOnDevice(ctx, { deviceId: device.deviceId, action: 'revoke', ...who })

      await open.closed
      const resumed = await est({
        path: '/nothing-here',
        client: device,
        tls: { ...tls, session: open.session },
      })
      expect(resumed.socket.isSessionReused()).toBe(true)
      expect(resumed.status).toBe(403)
      expect(resumed.headers.connection).toBe('close')
      expect(await opens(device, { agent, tls })).toBe(false)
      expect((await reenroll(device, renewal(device))).status).toBe(403)
      agent.destroy()

      const crl = parseCrl(await anybody.fetchPublic(`/crl/${ctx.authorities.devices.id}.crl`))
      expect(findRevoked(crl, parseCertificate(device.der).serial)?.reason).toBe(9)
      // The honest twin: another device, with a resumed session, is not touched.
      const other = await raw.session(bystander, version)
      const twin = await est({
        path: '/nothing-here',
        client: bystander,
        tls: { ...tls, session: other.session },
      })
      expect([twin.socket.isSessionReused(), twin.status]).toEqual([true, 404])
      other.socket.destroy()
    },
  )
})

describe('who gets in after an incident', () => {
  test('disabled device and disabled group: refused everywhere, and back afterwards', async () => {
    const profile = await world.givenProfile()
    const device = await world.givenDevice({ profile })
    const steps = [
      (action: 'disable' | 'enable') =>
        actOnDevice(ctx, { deviceId: device.deviceId, action, ...who }),
      (action: 'disable' | 'enable') =>
        actOnGroup(ctx, { groupId: profile.groupId, action, ...who }),
    ]
    for (const act of steps) {
      const open = await raw.session(device, 'TLSv1.3')
      await act('disable')
      await open.closed
      expect(await opens(device)).toBe(false)
      expect((await reenroll(device, renewal(device))).status).toBe(403)
      const token = await world.givenToken(profile.id)
      const call = { path: 'simpleenroll', user: profile.name, token, client: device }
      expect((await est({ ...call, body: base64Lines(renewal(device)) })).status).toBe(403)
      expect((await est({ path: 'cacerts', client: device })).status).toBe(200)
      await act('enable')
      expect(await opens(device)).toBe(true)
    }
  })

  test('one revoked certificate', async () => {
    const device = await world.givenDevice()
    const open = await raw.session(device, 'TLSv1.2')
    const { certificateId } = device
    await revokeCertificate(ctx, { certificateId, reason: 'keyCompromise', by: who.by })
    await open.closed
    expect(await opens(device)).toBe(false)
  })
})

describe('who gets in with a certificate', () => {
  test('A4, A6 certificates that only look right', async () => {
    const device = await world.givenDevice()
    const day = 86_400_000
    const { devices, servers } = ctx.authorities
    const key = generatePrivateKey('P-256')
    const own = softwareSigner(key)
    const input = {
      serial: newSerial(),
      issuer: {
        name: devices.certificate.subject,
        keyId: devices.certificate.subjectKeyId ?? Buffer.alloc(20),
      },
      subject: parseCertificate(device.der).subject,
      spki: spkiOf(key),
      notBefore: new Date(Math.floor(Date.now() / 1000) * 1000 - day),
      notAfter: new Date(Math.floor(Date.now() / 1000) * 1000 + day),
      san: [deviceIdentity(device.deviceId)],
      signatureAlgorithm: devices.signer.algorithm,
    }
    const expired = {
      notBefore: new Date(input.notBefore.getTime() - 9 * day),
      notAfter: input.notBefore,
    }
    const sign = async (changes: Partial<typeof input>, signer = devices.signer) =>
      await signCertificate(buildTbs('device', { ...input, ...changes }), signer)
    const foreign = {
      name: servers.certificate.subject,
      keyId: servers.certificate.subjectKeyId ?? keyIdentifier(servers.signer.spki),
    }
    const forged = {
      'signed by our issuer, but never issued': await sign({}),
      'A4 expired': await sign(expired),
      'A6 expired and signed by somebody else': await sign(expired, own),
      'signed by somebody else under the name of our issuer': await sign({}, own),
      'from the issuer of servers': await sign({ issuer: foreign }, servers.signer),
    }
    for (const [what, der] of Object.entries(forged)) {
      expect([what, await opens({ key, der })]).toEqual([what, false])
      expect([what, (await reenroll({ key, der }, renewal(device))).status]).toEqual([what, 403])
    }
    expect(await opens(device)).toBe(true)
  })
})

describe('the public listener', () => {
  test('serves CRLs and CA certificates at the URLs that are in certificates', async () => {
    const { der } = await world.givenDevice()
    const { authorityInfoAccess } = parseCertificate(der)
    const location = authorityInfoAccess?.find(({ method }) => method === oids.caIssuers)?.location
    const { pathname } = new URL(location?.type === 'uri' ? location.value : 'http://none/')
    expect(await anybody.fetchPublic(pathname)).toEqual(ctx.authorities.devices.der)
    expect(await anybody.fetchPublic('/ca/root.cer')).toEqual(ctx.authorities.root.der)
  })

  test('nothing else', async () => {
    for (const path of [
      '/',
      '/crl/',
      '/crl/x.crl',
      `/crl/${'0'.repeat(36)}.crl`,
      '/api/v1/devices',
      '/.well-known/est/cacerts',
      '/ca/../ca/x.cer',
      '/crl/%2e%2e',
    ]) {
      expect([path, await anybody.statusPublic(path)]).toEqual([path, 404])
    }
    expect(await anybody.statusPublic('/ca/root.cer', 'POST')).toBe(405)
  })
})

test('the server certificate is renewed without ending a connection or a session', async () => {
  const device = await world.givenDevice()
  const open = await raw.session(device, 'TLSv1.3')
  const { currentServerCertificate } =
    await import('../../server/authorities/server-certificate.ts')
  ctx.clock.advance({ seconds: 62 * 86_400 })
  const renewed = await currentServerCertificate(ctx)
  ctx.clock.advance({ seconds: -62 * 86_400 })
  expect(renewed.cert).not.toBe(ctx.authorities.tls.cert)
  // Dates from a clock that was ahead: what counts here is that listeners take it over.
  ctx.authorities.renewed(ctx.authorities.tls)
  const tls = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3', session: open.session } as const
  const answer = await est({ path: '/nothing-here', client: device, tls })
  expect([answer.status, answer.socket.isSessionReused()]).toEqual([404, true])
  expect(open.socket.destroyed).toBe(false)
  open.socket.destroy()
})

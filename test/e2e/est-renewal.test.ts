import type { KeyObject } from 'node:crypto'
import { get } from 'node:http'
import https from 'node:https'
import { connect, type TLSSocket } from 'node:tls'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { findRevoked, parseCrl } from '../../pki/crl/parse.ts'
import { buildCsr } from '../../pki/csr/build.ts'
import { oids } from '../../pki/der/oids.ts'
import {
  bitString,
  contextConstructed,
  integer,
  oid,
  sequence,
  setOf,
  utf8String,
} from '../../pki/der/writer.ts'
import { generatePrivateKey, keyIdentifier, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { signNow, softwareSigner } from '../../pki/signer.ts'
import { newSerial, signCertificate } from '../../pki/x509/issue.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { buildTbs, deviceIdentity } from '../../pki/x509/profiles.ts'
import { revokeCertificate } from '../../server/certificates/service.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { actOnDevice, actOnGroup } from '../../server/incidents/service.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  base64Lines,
  clientPem,
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

const who = { reason: 'test', by: { id: 'key:test' } }

let handle: DatabaseHandle
let world: IdentityWorld
let ctx: WorldContext
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let est: (call: EstCall) => Promise<EstAnswer>

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  ctx = world.ctx
  listeners = await listenForDevices(ctx)
  est = estClient(ctx, listeners.device.port)
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
  test('E13 the same key and another key; R7 the old one ends when the new one was used', async () => {
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
    // A3 a valid chain, but superseded
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
      const right = await linked(device, version, (binding) => binding)
      expect(right).toEqual(version === 'TLSv1.2' ? [200, 200] : [200])
      const wrong = await linked(device, version, (binding) => Buffer.alloc(binding.length))
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
      const open = await session(device, version)
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

      const crl = parseCrl(await fetchPublic(`/crl/${ctx.authorities.devices.id}.crl`))
      expect(findRevoked(crl, parseCertificate(device.der).serial)?.reason).toBe(9)
      // The honest twin: another device, with a resumed session, is not touched.
      const other = await session(bystander, version)
      const twin = await est({
        path: '/nothing-here',
        client: bystander,
        tls: { ...tls, session: other.session },
      })
      expect([twin.socket.isSessionReused(), twin.status]).toEqual([true, 404])
      other.socket.destroy()
    },
  )

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
      const open = await session(device, 'TLSv1.3')
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
    const open = await session(device, 'TLSv1.2')
    const { certificateId } = device
    await revokeCertificate(ctx, { certificateId, reason: 'keyCompromise', by: who.by })
    await open.closed
    expect(await opens(device)).toBe(false)
  })

  test('A4, A6, A8, A9, A10, A14 certificates that only look right', async () => {
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
    const location = authorityInfoAccess?.[0]?.location
    const { pathname } = new URL(location?.type === 'uri' ? location.value : 'http://none/')
    expect(await fetchPublic(pathname)).toEqual(ctx.authorities.devices.der)
    expect(await fetchPublic('/ca/root.cer')).toEqual(ctx.authorities.root.der)
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
      expect([path, await statusPublic(path)]).toEqual([path, 404])
    }
    expect(await statusPublic('/ca/root.cer', 'POST')).toBe(405)
  })
})

test('the server certificate is renewed without ending a connection or a session', async () => {
  const device = await world.givenDevice()
  const open = await session(device, 'TLSv1.3')
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

/** A connection that was let in and stays open, and a session to resume it with. */
async function session(device: Enrolled, version: 'TLSv1.2' | 'TLSv1.3') {
  const socket = await open(device, { version })
  let ticket: Buffer | undefined = socket.getSession()
  socket.on('session', (fresh: Buffer) => {
    ticket = fresh
  })
  socket.write('GET /nothing-here HTTP/1.1\r\nHost: localhost\r\n\r\n')
  const [head] = await new Promise<Buffer[]>((resolve) =>
    socket.once('data', (data: Buffer) => resolve([data])),
  )
  expect(head?.toString('latin1')).toMatch(/^HTTP\/1\.1 404/)
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  return {
    socket,
    closed,
    get session() {
      return ticket
    },
  }
}

async function open(
  device: Enrolled,
  { version, session: resume }: { version: 'TLSv1.2' | 'TLSv1.3'; session?: Buffer | undefined },
): Promise<TLSSocket> {
  const socket = connect({
    host: 'localhost',
    servername: 'localhost',
    port: listeners.device.port,
    ca: ctx.authorities.rootPem,
    minVersion: version,
    maxVersion: version,
    ...(resume ? { session: resume } : {}),
    ...clientPem(ctx, device),
  })
  socket.on('error', () => {})
  await new Promise<void>((resolve) => socket.once('secureConnect', () => resolve()))
  return socket
}

/** Renews over connections whose binding goes, changed or not, into the request: a full handshake, and for 1.2 a resumed one. */
async function linked(
  device: Enrolled,
  version: 'TLSv1.2' | 'TLSv1.3',
  change: (binding: Buffer) => Buffer,
): Promise<number[]> {
  const statuses: number[] = []
  let resume: Buffer | undefined
  for (let n = 0; n < (version === 'TLSv1.2' ? 2 : 1); n++) {
    const socket = await open(device, { version, session: resume })
    expect(socket.isSessionReused()).toBe(n > 0)
    resume = socket.getSession()
    const binding =
      version === 'TLSv1.3'
        ? socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0))
        : ((n > 0 ? socket.getPeerFinished() : socket.getFinished()) ?? Buffer.alloc(0))
    const body = base64Lines(csrWithChallenge(device, change(binding).toString('base64')))
    socket.write(
      `POST /.well-known/est/simplereenroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    )
    const answer = await new Promise<Buffer>((resolve) => socket.once('data', resolve))
    statuses.push(Number(/^HTTP\/1\.1 (\d+)/.exec(answer.toString('latin1'))?.[1]))
    socket.destroy()
  }
  return statuses
}

function csrWithChallenge(device: Enrolled, challenge: string): Buffer {
  const key = generatePrivateKey('P-256')
  const plain = parseCertificate(device.der)
  const names = buildCsr(key, { subject: plain.subject, uris: [`urn:uuid:${device.deviceId}`] })
  // The extensionRequest attribute as buildCsr writes it, with the challenge beside it.
  const marker = oid(oids.extensionRequest)
  const at = names.indexOf(marker) - 2
  const length = (names[at + 1] ?? 0) + 2
  const extensionRequest = names.subarray(at, at + length)
  const password = sequence(oid(oids.challengePassword), setOf(utf8String(challenge)))
  const attributes = [extensionRequest, password].toSorted((a, b) => a.compare(b))
  const info = sequence(
    integer(0),
    plain.subject,
    spkiOf(key),
    contextConstructed(0, ...attributes),
  )
  const { algorithm, signature } = signNow(key, info)
  return sequence(info, algorithm, bitString(signature))
}

async function fetchPublic(path: string): Promise<Buffer> {
  return await new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port: listeners.public.port, path }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('end', () => resolve(Buffer.concat(chunks)))
    }).once('error', reject)
  })
}

async function statusPublic(path: string, method = 'GET'): Promise<number | undefined> {
  return await new Promise((resolve, reject) => {
    const request = get(
      { host: '127.0.0.1', port: listeners.public.port, path, method },
      (response) => {
        response.resume()
        resolve(response.statusCode)
      },
    )
    request.once('error', reject)
  })
}

import type { KeyObject } from 'node:crypto'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { buildCsr } from '../../pki/csr/build.ts'
import { generatePrivateKey, keyIdentifier, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { softwareSigner } from '../../pki/signer.ts'
import { newSerial, signCertificate } from '../../pki/x509/issue.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { buildTbs, deviceIdentity } from '../../pki/x509/profiles.ts'
import { revokeCertificate } from '../../server/certificates/revocation.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { flushEvents } from '../../server/events/record.ts'
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
import { givenLapsedDevice, plant } from '../support/lapsed.ts'

const who = { reason: 'test', by: { id: 'key:test' } }
const dayMs = 86_400_000

let handle: DatabaseHandle
let world: IdentityWorld
let ctx: WorldContext
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let est: (call: EstCall) => Promise<EstAnswer>
/** With 30 days of grace. */
let profile: { id: string; name: string; groupId: string }

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle, {}, { foundedDaysAgo: 200 })
  ctx = world.ctx
  listeners = await listenForDevices(ctx)
  est = estClient(ctx, listeners.device.port)
  profile = await world.givenProfile()
  await world.givenEstPolicy(profile.id, { renewal: { graceDays: 30 } })
})
afterAll(async () => {
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

function renewal(device: Enrolled, key: KeyObject = generatePrivateKey('P-256')): Buffer {
  const { subject } = parseCertificate(device.der)
  return buildCsr(key, { subject, uris: [`urn:uuid:${device.deviceId}`] })
}

const reenroll = (client: EstCall['client'], csr: Buffer, call: Partial<EstCall> = {}) =>
  est({ path: 'simplereenroll', client, body: base64Lines(csr), ...call })

const lapsed = (endedDaysAgo = 10, of = profile) =>
  givenLapsedDevice(world, { profile: of, endedDaysAgo })

const auditOf = async (deviceId: string) => {
  const rows = await ctx.db
    .selectFrom('audit_event')
    .select('facts')
    .where('action', '=', 'certificate.issue')
    .where('actor', '=', `device:${deviceId}`)
    .execute()
  return rows.map((row) => row.facts)
}

describe('R3, A5 a certificate that ended within the grace', () => {
  test('fetches its successor, by rekey and by renewal, and nothing else', async () => {
    const device = await lapsed()
    const key = generatePrivateKey('P-256')
    const answer = await reenroll(device, renewal(device, key))
    expect([answer.status, answer.certificates.length]).toEqual([200, 1])
    const next = { key, der: answer.certificates[0] ?? Buffer.alloc(0) }
    expect(parseCertificate(next.der).notAfter.getTime()).toBeGreaterThan(Date.now() + 80 * dayMs)
    expect(await auditOf(device.deviceId)).toMatchObject([{ kind: 'rekey', afterExpiry: true }])
    for (const path of ['/artifacts/none', '/nothing-here']) {
      expect((await est({ path, client: device })).status).toBe(403)
    }
    // The new one opens; from then on the old one is superseded and renews nothing.
    expect((await est({ path: '/nothing-here', client: next })).status).toBe(404)
    const late = await reenroll(device, renewal(device))
    expect([late.status, late.text]).toEqual([403, 'Refused: the certificate is superseded\n'])
  })

  test('in TLS 1.2 and on a resumed session as well, with its label, and the same request again', async () => {
    const device = await lapsed()
    const csr = renewal(device, device.key)
    const path = `${profile.name}/simplereenroll`
    const tls = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const
    const first = await reenroll(device, csr, { path, tls })
    expect(first.status).toBe(200)
    const session = first.socket.getSession()
    const again = await reenroll(device, csr, {
      path,
      tls: { ...tls, ...(session && { session }) },
    })
    expect([again.status, again.socket.isSessionReused()]).toEqual([200, true])
    expect(again.text).toBe(first.text)
    expect(await auditOf(device.deviceId)).toMatchObject([{ kind: 'renew', afterExpiry: true }])
  })

  test('is told of', async () => {
    const device = await lapsed()
    expect((await reenroll(device, renewal(device))).status).toBe(200)
    await flushEvents(ctx)
    const events = await ctx.db
      .selectFrom('security_event')
      .select(['kind', 'severity'])
      .where('device_id', '=', device.deviceId)
      .execute()
    expect(events).toContainEqual({ kind: 'renewed-after-expiry', severity: 'warning' })
  })

  test('also when the clocks of TLS and of the server differ', async () => {
    const device = await world.givenDevice({ profile })
    ctx.clock.advance({ seconds: 100 * 86_400 })
    try {
      const answer = await reenroll(device, renewal(device))
      expect(answer.status).toBe(200)
      expect((await est({ path: '/nothing-here', client: device })).status).toBe(403)
    } finally {
      ctx.clock.advance({ seconds: -100 * 86_400 })
    }
  })
})

describe('A4 outside the grace', () => {
  test('past it, and where there is none', async () => {
    const late = await lapsed(31)
    const answer = await reenroll(late, renewal(late))
    expect([answer.status, answer.text]).toEqual([403, expect.stringMatching(/enroll the device/)])
    const strict = await world.givenProfile()
    const device = await lapsed(1, strict)
    const none = await reenroll(device, renewal(device))
    expect([none.status, none.text]).toEqual([403, expect.stringMatching(/no grace/)])
    // It is the rule of the day that counts.
    await world.givenEstPolicy(strict.id, { renewal: { graceDays: 2 } })
    expect((await reenroll(device, renewal(device))).status).toBe(200)
  })

  test('at most five successors a day of one certificate', async () => {
    const device = await lapsed()
    const statuses: number[] = []
    for (let n = 0; n < 6; n++) statuses.push((await reenroll(device, renewal(device))).status)
    expect(statuses).toEqual([200, 200, 200, 200, 200, 429])
  })
})

describe('A7 expired, and something worse', () => {
  test('revoked', async () => {
    const device = await lapsed()
    const { certificateId } = device
    await revokeCertificate(ctx, { certificateId, reason: 'keyCompromise', by: who.by })
    expect((await reenroll(device, renewal(device))).status).toBe(403)
  })

  test('of a device or a group that is cut off, until it is not', async () => {
    const line = await world.givenProfile()
    await world.givenEstPolicy(line.id, { renewal: { graceDays: 30 } })
    const device = await lapsed(10, line)
    const steps = [
      (action: 'disable' | 'enable') =>
        actOnDevice(ctx, { deviceId: device.deviceId, action, ...who }),
      (action: 'disable' | 'enable') => actOnGroup(ctx, { groupId: line.groupId, action, ...who }),
    ]
    for (const act of steps) {
      await act('disable')
      expect((await reenroll(device, renewal(device))).status).toBe(403)
      await act('enable')
      expect((await reenroll(device, renewal(device))).status).toBe(200)
    }
  })

  test('under the label of another line, or with other names', async () => {
    const device = await lapsed()
    const other = await world.givenProfile()
    const path = `${other.name}/simplereenroll`
    expect((await reenroll(device, renewal(device), { path })).status).toBe(403)
    const victim = await lapsed()
    expect((await reenroll(device, renewal(victim))).status).toBe(400)
    const key = generatePrivateKey('P-256')
    const named = buildCsr(key, { subject: encodeName({ commonName: 'other' }) })
    expect((await reenroll(device, named)).status).toBe(400)
  })
})

const forgerKey = generatePrivateKey('P-256')
const forger = softwareSigner(forgerKey)

/** What a certificate of this device would hold, with the forger's key. */
function contents(device: Enrolled) {
  const { devices } = ctx.authorities
  const { subject, notBefore, notAfter } = parseCertificate(device.der)
  return {
    serial: newSerial(),
    issuer: nameOf(devices),
    subject,
    spki: spkiOf(forgerKey),
    notBefore,
    notAfter,
    san: [deviceIdentity(device.deviceId)],
    signatureAlgorithm: devices.signer.algorithm,
  }
}

function nameOf({ certificate }: WorldContext['authorities']['devices']) {
  return { name: certificate.subject, keyId: certificate.subjectKeyId ?? Buffer.alloc(20) }
}

async function forgeries(device: Enrolled): Promise<Record<string, Buffer>> {
  const { devices, servers } = ctx.authorities
  const input = contents(device)
  const sign = async (changes: Partial<typeof input>, signer = devices.signer) =>
    await signCertificate(buildTbs('device', { ...input, ...changes }), signer)
  const corrupted = Buffer.from(await sign({}))
  corrupted[corrupted.length - 5] = (corrupted[corrupted.length - 5] ?? 0) ^ 1
  const server = buildTbs('server', { ...input, san: [{ type: 'dns', value: 'localhost' }] })
  const keyId = keyIdentifier(forger.spki)
  const foreign = { name: encodeName({ commonName: 'Other CA' }), keyId }
  return {
    'an unknown CA': await sign({ issuer: foreign }, forger),
    'the name of our issuer, its key identifier copied': await sign({}, forger),
    'the name of our issuer, another key identifier': await sign(
      { issuer: { ...input.issuer, keyId } },
      forger,
    ),
    'a corrupted signature': corrupted,
    'for servers only': await signCertificate(server, devices.signer),
    'from the issuer of servers': await sign({ issuer: nameOf(servers) }, servers.signer),
  }
}

describe('A6 expired and forged: each variant that TLS reports as nothing but expired', () => {
  test('none is let in, unknown or planted in the database', async () => {
    const device = await lapsed()
    const key = forgerKey
    const csr = renewal(device, key)
    for (const [what, der] of Object.entries(await forgeries(device))) {
      expect([what, (await reenroll({ key, der }, csr)).status]).toEqual([what, 403])
      await plant(world, device.certificateId, der)
      expect([what, (await reenroll({ key, der }, csr)).status]).toEqual([what, 403])
      await plant(world, device.certificateId, device.der)
    }
  })

  test('nor one that is ours in everything, but not in our records', async () => {
    const device = await lapsed()
    const { signer } = ctx.authorities.devices
    const der = await signCertificate(buildTbs('device', contents(device)), signer)
    const client = { key: forgerKey, der }
    expect((await reenroll(client, renewal(device, forgerKey))).status).toBe(403)
    // The twin: the same bytes, planted, are a certificate like any other.
    await plant(world, device.certificateId, der)
    expect((await reenroll(client, renewal(device, forgerKey))).status).toBe(200)
  })
})

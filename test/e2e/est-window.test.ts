import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { FileDisk } from '../../device-sim/disk.ts'
import { findIdentity, saveIdentity, saveServerRoot } from '../../device-sim/identity.ts'
import { Renewer } from '../../device-sim/renewal.ts'
import { buildCsr } from '../../pki/csr/build.ts'
import { generatePrivateKey } from '../../pki/keys.ts'
import { toPem } from '../../pki/pem.ts'
import { fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { sendRenewalHints } from '../../server/enrollment/renewal-hint.ts'
import { renewalWorkers } from '../../server/enrollment/renewal-worker.ts'
import { noTransport } from '../../server/mqtt/transport.ts'
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
  newRequest,
  unique,
  type WorldContext,
} from '../support/identity-world.ts'

const daySeconds = 86_400

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

function renewal(device: Enrolled, key = generatePrivateKey('P-256')): Buffer {
  const { subject } = parseCertificate(device.der)
  return buildCsr(key, { subject, uris: [`urn:uuid:${device.deviceId}`] })
}

const reenroll = (client: EstCall['client'], csr: Buffer) =>
  est({ path: 'simplereenroll', client, body: base64Lines(csr) })

/** The server's clock runs ahead; TLS and the certificates of devices stay in the present. */
async function later<T>(days: number, work: () => Promise<T>): Promise<T> {
  ctx.clock.advance({ seconds: days * daySeconds })
  try {
    return await work()
  } finally {
    ctx.clock.advance({ seconds: -days * daySeconds })
  }
}

describe('the window', () => {
  test('R1 before it: 403 with the opening time, R2 inside it: a certificate', async () => {
    const profile = await world.givenProfile()
    await world.givenEstPolicy(profile.id, {})
    const device = await world.givenDevice({ profile })
    const { notBefore, notAfter } = parseCertificate(device.der)
    const opens = new Date(notBefore.getTime() + (notAfter.getTime() - notBefore.getTime()) * 0.6)
    const early = await later(50, () => reenroll(device, renewal(device)))
    expect(early.status).toBe(403)
    expect(early.headers['content-type']).toBe('text/plain; charset=utf-8')
    expect(early.text).toContain(opens.toISOString())
    const waitSeconds = Number(early.headers['retry-after'])
    expect(waitSeconds).toBeGreaterThan(3 * daySeconds)
    expect(waitSeconds).toBeLessThan(4 * daySeconds)
    const inside = await later(55, () => reenroll(device, renewal(device)))
    expect(inside.status).toBe(200)
  })

  test('the answer says when to come back, at enrollment and renewal', async () => {
    const profile = await world.givenProfile()
    await world.givenEstPolicy(profile.id, { renewal: { opensPercent: 0, jitterPercent: 10 } })
    const token = await world.givenToken(profile.id)
    const { key, csr } = newRequest(unique('SN'))
    const user = profile.name
    const first = await est({ path: 'simpleenroll', user, token, body: base64Lines(csr) })
    const [der = Buffer.alloc(0)] = first.certificates
    expectHintWithin(first, 10)
    const uri = parseCertificate(der).subjectAltName?.[0]
    const deviceId = uri?.type === 'uri' ? uri.value.slice(9) : ''
    const next = await reenroll({ key, der }, renewal({ der, deviceId } as Enrolled))
    expect(next.status).toBe(200)
    expectHintWithin(next, 10)
  })

  function expectHintWithin({ headers, certificates }: EstAnswer, percent: number) {
    const { notBefore, notAfter } = parseCertificate(certificates[0] ?? Buffer.alloc(0))
    const renewAt = Date.parse(String(headers['fleetseal-renew-at']))
    const life = notAfter.getTime() - notBefore.getTime()
    expect(renewAt).toBeGreaterThanOrEqual(notBefore.getTime())
    expect(renewAt).toBeLessThanOrEqual(notBefore.getTime() + (life * percent) / 100)
  }

  test('R5 the same key where a new one is wanted, and the other way around', async () => {
    for (const key of ['new', 'same'] as const) {
      const profile = await world.givenProfile()
      await world.givenEstPolicy(profile.id, { renewal: { opensPercent: 0, key } })
      const device = await world.givenDevice({ profile })
      const same = await reenroll(device, renewal(device, device.key))
      const other = await reenroll(device, renewal(device))
      expect([same.status, other.status]).toEqual(key === 'new' ? [400, 200] : [200, 400])
      expect((key === 'new' ? same : other).text).toMatch(/This profile/)
    }
  })

  test("R4 a subject or subjectAltName that is not the certificate's", async () => {
    const device = await world.givenDevice()
    const key = generatePrivateKey('P-256')
    const { subject } = parseCertificate(device.der)
    expect((await reenroll(device, buildCsr(key, { subject }))).status).toBe(400)
    expect((await reenroll(device, newRequest(device.serialNumber, { key }).csr)).status).toBe(400)
    expect((await reenroll(device, renewal(device, key))).status).toBe(200)
  })
})

describe('hints over MQTT', () => {
  test('go to devices whose certificate is due within two days, and to no others', async () => {
    const profile = await world.givenProfile()
    await world.givenEstPolicy(profile.id, { renewal: { opensPercent: 50, jitterPercent: 0 } })
    const device = await world.givenDevice({ profile })
    const sent: unknown[] = []
    const deps = {
      ...ctx,
      transport: {
        ...noTransport,
        send: async (...message: unknown[]) => {
          sent.push(message)
          return 'sent' as const
        },
      },
    }
    const ids = [device.deviceId]
    await later(42, () => sendRenewalHints(deps, ids))
    expect(sent).toEqual([])
    await later(44, () => sendRenewalHints(deps, ids))
    const command = { command: 'renew', certificate: device.fingerprint, at: expect.any(String) }
    expect(sent).toEqual([[device.deviceId, 'command', command]])
    // Out of turn: everything issued before now.
    sent.length = 0
    const issuedBefore = new Date(ctx.clock.now().getTime() + 60_000).toISOString()
    await world.givenEstPolicy(profile.id, { renewal: { issuedBefore, spreadHours: 1 } })
    await sendRenewalHints(deps, ids)
    expect(sent).toHaveLength(1)
    expect((await later(1, () => reenroll(device, renewal(device)))).status).toBe(200)
  })

  test('reach devices that stay connected, page by page', async () => {
    const profile = await world.givenProfile()
    const issuedBefore = new Date(ctx.clock.now().getTime() + 60_000).toISOString()
    await world.givenEstPolicy(profile.id, { renewal: { issuedBefore, spreadHours: 1 } })
    // The usual window of these tests opens at once: one device stands in one that is weeks away.
    const distant = await world.givenProfile()
    await world.givenEstPolicy(distant.id, { renewal: { opensPercent: 50, jitterPercent: 0 } })
    const devices = [
      await world.givenDevice({ profile }),
      await world.givenDevice({ profile }),
      await world.givenDevice({ profile: distant }),
    ]
    const strangers = Array.from({ length: 700 }, () => randomUUID())
    const told: string[] = []
    const transport = {
      ...noTransport,
      connectedDevices: () => [...strangers, ...devices.map(({ deviceId }) => deviceId)],
      send: async (deviceId: string) => {
        told.push(deviceId)
        return 'sent' as const
      },
    }
    const [worker] = renewalWorkers({ ...ctx, transport })
    const { signal } = new AbortController()
    expect(await worker?.step(signal)).toBe(true)
    expect(told).toEqual([])
    expect(await worker?.step(signal)).toBe(false)
    expect(told.toSorted()).toEqual(
      devices
        .slice(0, 2)
        .map(({ deviceId }) => deviceId)
        .toSorted(),
    )
  })
})

test('A15 a header that names a certificate is nothing but text', async () => {
  const device = await world.givenDevice()
  const pem = encodeURIComponent(toPem('CERTIFICATE', device.der))
  const names = ['X-SSL-Client-Cert', 'X-Client-Cert', 'X-Forwarded-Client-Cert', 'Client-Cert']
  const headers = Object.fromEntries(names.map((name) => [name, pem]))
  const body = base64Lines(renewal(device))
  expect((await est({ path: 'simplereenroll', headers, body })).status).toBe(403)
  expect((await est({ path: '/nothing-here', headers })).status).toBe(403)
  expect((await est({ path: '/nothing-here', headers, client: device })).status).toBe(404)
})

describe('a device that obeys', () => {
  const stack = new AsyncDisposableStack()
  afterAll(() => stack.disposeAsync())

  /** Only the part of the agent that renews, with clocks that can be moved. */
  async function givenRenewer(profile: { id: string }, clock = ctx.clock) {
    const device = await world.givenDevice({ profile })
    const dir = await mkdtemp(join(tmpdir(), 'fleetseal-renewer-'))
    stack.defer(() => rm(dir, { recursive: true, force: true }))
    const disk = await FileDisk.open(join(dir, 'device'))
    await saveServerRoot(disk, ctx.authorities.rootPem)
    const issuers = [ctx.authorities.devices.der]
    await saveIdentity(disk, { key: device.key, issued: device.der, issuers, at: clock.now() })
    let identity = await findIdentity(disk)
    if (!identity) throw new Error('not saved')
    const current = () => {
      if (!identity) throw new Error('not saved')
      return identity
    }
    const renewer = () =>
      new Renewer({
        disk,
        clock,
        server: { host: 'localhost', port: listeners.device.port },
        identity: current,
        onRenewed: (next) => (identity = next),
        log: () => {},
        random: () => 0,
      })
    return { fingerprint: () => fingerprint(current().leaf.der), renewer, device }
  }

  test('renews at its time and not before, and not twice', async () => {
    const profile = await world.givenProfile()
    await world.givenEstPolicy(profile.id, {})
    const { renewer, fingerprint: current, device } = await givenRenewer(profile)
    const agent = renewer()
    await agent.start()
    await later(58, () => agent.check())
    expect(current()).toBe(device.fingerprint)
    await later(62, async () => {
      await agent.check()
      expect(current()).not.toBe(device.fingerprint)
      const next = current()
      await agent.check()
      expect(current()).toBe(next)
      expect(Date.parse(agent.renewAt ?? '')).toBeGreaterThan(ctx.clock.now().getTime())
    })
    await agent.stop()
  })

  test('R3 comes back by itself after its certificate ended, within the grace only', async () => {
    const profile = await world.givenProfile()
    await world.givenEstPolicy(profile.id, { renewal: { graceDays: 7 } })
    const inTime = await givenRenewer(profile)
    const tooLate = await givenRenewer(profile)
    await later(95, () => runOnce(inTime.renewer()))
    expect(inTime.fingerprint()).not.toBe(inTime.device.fingerprint)
    await later(98, () => runOnce(tooLate.renewer()))
    expect(tooLate.fingerprint()).toBe(tooLate.device.fingerprint)
    // The operator gives it more time: the device tries again by itself.
    await world.givenEstPolicy(profile.id, { renewal: { graceDays: 30 } })
    await later(99, () => runOnce(tooLate.renewer()))
    expect(tooLate.fingerprint()).not.toBe(tooLate.device.fingerprint)
  })

  async function runOnce(renewer: Renewer): Promise<void> {
    await renewer.start()
    await renewer.stop()
  }
})

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { findRevoked, parseCrl } from '../../pki/crl/parse.ts'
import { oids } from '../../pki/der/oids.ts'
import {
  type CertIdHash,
  certIdHashes,
  encodeCertId,
  issuerHashes,
} from '../../pki/ocsp/cert-id.ts'
import { checkOcspResponse } from '../../pki/ocsp/check.ts'
import { buildOcspRequest } from '../../pki/ocsp/request.ts'
import { type BasicResponse, parseOcspResponse } from '../../pki/ocsp/response.ts'
import { newSerial } from '../../pki/x509/issue.ts'
import { type Certificate, parseCertificate } from '../../pki/x509/parse.ts'
import { latestCrl } from '../../server/certificates/crl.ts'
import { OcspDesk } from '../../server/certificates/ocsp.ts'
import { changeRevocation, type RevocationAction } from '../../server/certificates/revocation.ts'
import { abandon } from '../../server/certificates/service.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { listenForDevices } from '../support/est-client.ts'
import type { Enrolled, IdentityWorld, WorldContext } from '../support/identity-world.ts'
import { makeIssuer, makeRoot } from '../support/pki-fixture.ts'
import { createWorlds, kinds } from '../support/two-worlds.ts'

const worldOn = createWorlds()
let world: IdentityWorld
let ctx: WorldContext
let url: string
let close: () => Promise<void>

const use = (kind: string) => async () => {
  ;({ world } = worldOn(kind))
  ctx = world.ctx
  const listeners = await listenForDevices(ctx)
  url = `http://127.0.0.1:${listeners.public.port}/ocsp`
  close = async () => await listeners[Symbol.asyncDispose]()
}

const serialOf = ({ der }: Enrolled) => parseCertificate(der).serial
const certId = (serial: Buffer, hash: CertIdHash = 'sha1', issuer?: Certificate) =>
  encodeCertId(hash, issuerHashes(issuer ?? ctx.authorities.devices.certificate), serial)

async function post(body: Buffer, type = 'application/ocsp-request') {
  const headers = { 'Content-Type': type }
  const response = await fetch(url, { method: 'POST', headers, body: new Uint8Array(body) })
  const der = Buffer.from(await response.arrayBuffer())
  return { status: response.status, headers: response.headers, der }
}

function basicIn(der: Buffer): BasicResponse {
  const response = parseOcspResponse(der)
  if (response.status !== 'successful') throw new Error(response.status)
  return response.basic
}

/** What a careful client makes of the answer. */
async function statusBy(serial: Buffer, hash: CertIdHash = 'sha1', nonce?: Buffer) {
  const id = certId(serial, hash)
  const { status, der } = await post(buildOcspRequest([id], nonce))
  expect(status).toBe(200)
  const issuer = ctx.authorities.devices.certificate
  const question = { issuer, serial, at: ctx.clock.now(), ...(nonce ? { nonce } : {}) }
  return checkOcspResponse(der, question)
}

const change = async ({ certificateId }: Enrolled, action: RevocationAction) =>
  await changeRevocation(ctx, { ...action, certificateId, by: { id: 'key:test' } })

async function crlReason(device: Enrolled): Promise<number | undefined> {
  const row = await latestCrl(ctx.db, ctx.authorities.devices.id)
  return findRevoked(parseCrl(row?.der ?? Buffer.alloc(0)), serialOf(device))?.reason
}

describe.each(kinds)('OCSP on %s', (kind) => {
  beforeAll(use(kind))
  afterAll(() => close())

  test('V10 good, on hold, released, revoked: by both hashes, and as the CRL says', async () => {
    const device = await world.givenDevice()
    const expectStatus = async (status: string, reason?: number) => {
      for (const hash of certIdHashes) {
        const known = await statusBy(serialOf(device), hash)
        expect(known).toMatchObject({ status, ...(reason === undefined ? {} : { reason }) })
      }
      expect(await crlReason(device)).toBe(reason)
    }
    await change(device, { action: 'release' })
    await expectStatus('good')
    await change(device, { action: 'hold' })
    await expectStatus('revoked', 6)
    await change(device, { action: 'release' })
    await expectStatus('good')
    await change(device, { action: 'revoke', reason: 'keyCompromise' })
    await expectStatus('revoked', 1)
  })

  test('V10 unknown for a serial nobody chose; revoked for one that was given up', async () => {
    expect(await statusBy(newSerial())).toMatchObject({ status: 'unknown' })
    const device = await world.givenDevice()
    const row = await ctx.db
      .selectFrom('certificate')
      .selectAll()
      .where('id', '=', device.certificateId)
      .executeTakeFirstOrThrow()
    const serial = newSerial()
    const pending = {
      ...row,
      id: crypto.randomUUID(),
      serial,
      state: 'pending' as const,
      der: null,
      fingerprint: null,
      request_key: null,
    }
    await inTransaction(ctx.db, async (tx) => {
      await tx.insertInto('certificate').values(pending).execute()
    })
    expect(await statusBy(serial)).toMatchObject({ status: 'unknown' })
    await inTransaction(ctx.db, (tx) => abandon(tx, [pending]))
    expect(await statusBy(serial)).toMatchObject({ status: 'revoked', reason: 0 })
  })
})

describe.each(kinds)('who answers OCSP on %s', (kind) => {
  beforeAll(use(kind))
  afterAll(() => close())

  test('V10 a foreign issuer is unauthorized; so is one right hash of two, and a mixed request', async () => {
    const own = await world.givenDevice()
    const foreign = (await makeIssuer(await makeRoot())).certificate
    const devices = ctx.authorities.devices.certificate
    const mixedHashes = { ...foreign, subject: devices.subject }
    const requests = [
      [certId(serialOf(own), 'sha1', foreign)],
      [certId(serialOf(own), 'sha256', mixedHashes)],
      [certId(serialOf(own)), certId(serialOf(own), 'sha1', foreign)],
      [certId(serialOf(own)), certId(newSerial(), 'sha1', ctx.authorities.servers.certificate)],
    ]
    for (const ids of requests) {
      const { status, der } = await post(buildOcspRequest(ids))
      expect([status, parseOcspResponse(der).status]).toEqual([200, 'unauthorized'])
    }
    // The issuer of servers has a responder of its own.
    const server = await post(
      buildOcspRequest([certId(newSerial(), 'sha1', ctx.authorities.servers.certificate)]),
    )
    expect(basicIn(server.der).responses[0]?.status).toBe('unknown')
  })

  test('V10 the responder is delegated by the issuer, may only sign answers, and is not asked about', async () => {
    const { der } = await post(buildOcspRequest([certId(newSerial())]))
    const [responder] = basicIn(der).certificates
    expect(responder?.issuer).toEqual(ctx.authorities.devices.certificate.subject)
    expect(responder?.extKeyUsage).toEqual([oids.ocspSigning])
    expect(responder?.extensions.has(oids.ocspNoCheck)).toBe(true)
    expect(responder?.crlDistributionPoints).toBeUndefined()
    const lifeMs = (responder?.notAfter.getTime() ?? 0) - ctx.clock.now().getTime()
    expect(lifeMs).toBeLessThanOrEqual(7 * 86_400_000)
    const row = await ctx.db
      .selectFrom('certificate')
      .select(['id', 'state'])
      .where('kind', '=', 'ocsp-responder')
      .executeTakeFirstOrThrow()
    expect(row.state).toBe('issued')
    await expect(
      changeRevocation(ctx, {
        action: 'revoke',
        reason: 'keyCompromise',
        certificateId: row.id,
        by: { id: 'key:test' },
      }),
    ).rejects.toMatchObject({ code: 'illegal-transition' })
  })
})

describe.each(kinds)('OCSP over HTTP on %s', (kind) => {
  beforeAll(use(kind))
  afterAll(() => close())

  test('V10 a nonce of 1 to 128 octets is echoed and never cached; others are malformed', async () => {
    const device = await world.givenDevice()
    for (const length of [1, 32, 128]) {
      const nonce = Buffer.alloc(length, 7)
      expect(await statusBy(serialOf(device), 'sha1', nonce)).toMatchObject({ status: 'good' })
    }
    const id = certId(serialOf(device))
    const fitting = buildOcspRequest([id], Buffer.alloc(5, 7))
    const at = fitting.lastIndexOf(Buffer.alloc(5, 7))
    const empty = Buffer.from(fitting)
    empty[at - 1] = 0
    for (const body of [empty, Buffer.alloc(0), Buffer.from('garbage'), fitting.subarray(1)]) {
      const { status, der } = await post(body)
      expect([status, parseOcspResponse(der).status]).toEqual([200, 'malformedRequest'])
    }
    const path = encodeURIComponent(fitting.toString('base64'))
    const response = await fetch(`${url}/${path}`)
    expect(response.headers.get('cache-control')).toBe('no-store')
  })
})

describe.each(kinds)('OCSP by GET on %s', (kind) => {
  beforeAll(use(kind))
  afterAll(() => close())

  test('V10 GET: escaped or not, cached until the next update, 304 for whoever has it', async () => {
    const device = await world.givenDevice()
    const base64 = buildOcspRequest([certId(serialOf(device))]).toString('base64')
    const first = await fetch(`${url}/${encodeURIComponent(base64)}`)
    const der = Buffer.from(await first.arrayBuffer())
    expect(first.headers.get('content-type')).toBe('application/ocsp-response')
    expect(first.headers.get('cache-control')).toMatch(
      /^max-age=(8\d\d|900), public, no-transform, must-revalidate$/,
    )
    const { thisUpdate, nextUpdate } = basicIn(der).responses[0] ?? {}
    expect(first.headers.get('expires')).toBe(nextUpdate?.toUTCString())
    expect(first.headers.get('last-modified')).toBe(thisUpdate?.toUTCString())
    const etag = first.headers.get('etag') ?? ''
    const again = await fetch(`${url}/${base64}`, {
      headers: { 'If-None-Match': etag, 'Cache-Control': 'max-age=0' },
    })
    expect(again.status).toBe(304)
    const head = await fetch(`${url}/${base64}`, { method: 'HEAD' })
    expect([head.status, head.headers.get('etag')]).toEqual([200, etag])
    for (const path of ['', '/', '/%zz', '/AAAA', `/${base64}%20`, `/${'A'.repeat(5_000)}`]) {
      const response = await fetch(`${url}${path}`)
      const answer = parseOcspResponse(Buffer.from(await response.arrayBuffer()))
      expect([path, response.status, answer.status]).toEqual([path, 200, 'malformedRequest'])
    }
  })
})

describe.each(kinds)('OCSP answers signed before on %s', (kind) => {
  beforeAll(use(kind))
  afterAll(() => close())

  test('V10 the answer signed before is the live one, and never outlives a revocation', async () => {
    const device = await world.givenDevice()
    const request = buildOcspRequest([certId(serialOf(device))])
    const [first, second] = [await post(request), await post(request)]
    expect(second.der).toEqual(first.der)
    const live = await statusBy(serialOf(device), 'sha1', Buffer.alloc(16, 1))
    expect(basicIn(first.der).responses[0]?.status).toBe(live.status)
    await change(device, { action: 'revoke', reason: 'superseded' })
    const third = basicIn((await post(request)).der).responses[0]
    expect(third).toMatchObject({ status: 'revoked', reason: 4 })
    expect(await statusBy(serialOf(device), 'sha1', Buffer.alloc(16, 1))).toMatchObject({
      status: 'revoked',
      reason: 4,
    })
  })

  test('several in one request; bodies of another type or size are refused', async () => {
    const devices = [await world.givenDevice(), await world.givenDevice()]
    await change(devices[1] as Enrolled, { action: 'hold' })
    const ids = [...devices.map((device) => certId(serialOf(device))), certId(newSerial())]
    const { der } = await post(buildOcspRequest(ids))
    const { responses } = basicIn(der)
    expect(responses.map(({ status }) => status)).toEqual(['good', 'revoked', 'unknown'])
    expect(der.includes(Buffer.from('2e305a', 'hex'))).toBe(false)
    expect((await post(buildOcspRequest(ids), 'application/json')).status).toBe(415)
    expect((await post(Buffer.alloc(20_000))).status).toBe(413)
    expect((await fetch(url, { method: 'PUT' })).status).toBe(405)
  })
})

describe.each(kinds)('OCSP in bad times on %s', (kind) => {
  beforeAll(use(kind))
  afterAll(() => close())

  test('A24 without the database the answer is tryLater, never good', async () => {
    const device = await world.givenDevice()
    const desk = new OcspDesk(ctx)
    const request = buildOcspRequest([certId(serialOf(device))])
    expect((await desk.answer(request)).status).toBe('successful')
    const down = new OcspDesk({
      ...ctx,
      db: {
        selectFrom: () => {
          throw new Error('down')
        },
      } as unknown as WorldContext['db'],
    })
    expect((await down.answer(request)).status).toBe('tryLater')
  })

  test('the responder is renewed in the middle of its life', async () => {
    const desk = new OcspDesk(ctx)
    const request = buildOcspRequest([certId(newSerial())])
    const responderOf = async () =>
      basicIn((await desk.answer(request)).der).certificates[0]?.serial.toString('hex')
    const first = await responderOf()
    expect(await responderOf()).toBe(first)
    ctx.clock.advance({ seconds: 4 * 86_400 })
    try {
      expect(await responderOf()).not.toBe(first)
    } finally {
      ctx.clock.advance({ seconds: -4 * 86_400 })
    }
  })
})

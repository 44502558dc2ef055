import { beforeAll, expect, test } from 'vitest'

import { encodeGeneralizedTime } from '../../../pki/der/time.ts'
import { contextConstructed, octetString, sequence } from '../../../pki/der/writer.ts'
import type { KeyAlgorithm } from '../../../pki/keys.ts'
import { generatePrivateKey, spkiOf } from '../../../pki/keys.ts'
import type { OcspResponder, SerialStatus } from '../../../pki/ocsp/answer.ts'
import {
  answerOcsp,
  ocspError,
  ocspResponder,
  presignOcsp,
  responderKeyHash,
} from '../../../pki/ocsp/answer.ts'
import { ocspCacheHeaders } from '../../../pki/ocsp/caching.ts'
import type { CertIdHash } from '../../../pki/ocsp/cert-id.ts'
import { encodeCertId, issuerHashes } from '../../../pki/ocsp/cert-id.ts'
import type { OcspQuestion } from '../../../pki/ocsp/check.ts'
import { checkOcspResponse } from '../../../pki/ocsp/check.ts'
import { buildOcspRequest } from '../../../pki/ocsp/request.ts'
import type { BasicResponse } from '../../../pki/ocsp/response.ts'
import { parseOcspResponse } from '../../../pki/ocsp/response.ts'
import { softwareSigner } from '../../../pki/signer.ts'
import { newSerial } from '../../../pki/x509/issue.ts'
import { good, makeResponder, revoked, unknown } from '../../support/ocsp-fixture.ts'
import type { Authority } from '../../support/pki-fixture.ts'
import {
  daysFrom,
  deviceInput,
  expectRefusal,
  issue,
  makeIssuer,
  makeRoot,
  now,
} from '../../support/pki-fixture.ts'

let root: Authority
let issuer: Authority
let responder: OcspResponder
const serial = newSerial()

beforeAll(async () => {
  root = await makeRoot()
  issuer = await makeIssuer(root)
  responder = await makeResponder(issuer)
})

interface Ask {
  hash?: CertIdHash
  serials?: Buffer[]
  nonce?: Buffer
  of?: Authority
  by?: OcspResponder
}

async function ask(known: SerialStatus | SerialStatus[], options: Ask = {}) {
  const { hash = 'sha1', serials = [serial], nonce, of = issuer, by = responder } = options
  const hashes = issuerHashes(of.certificate)
  const request = buildOcspRequest(
    serials.map((one) => encodeCertId(hash, hashes, one)),
    nonce,
  )
  const lookUp = async (asked: readonly Buffer[]) => {
    expect(asked).toEqual(serials)
    return [known].flat()
  }
  return await answerOcsp(request, by, lookUp, now)
}

function basicOf(der: Buffer): BasicResponse {
  const parsed = parseOcspResponse(der)
  if (parsed.status !== 'successful') throw new Error(parsed.status)
  return parsed.basic
}

function check(der: Buffer, change: Partial<OcspQuestion> = {}) {
  return checkOcspResponse(der, { serial, issuer: issuer.certificate, at: now, ...change })
}

test.each<CertIdHash>(['sha1', 'sha256'])('V10 good, revoked and unknown, by %s', async (hash) => {
  const status = async (known: SerialStatus) => check((await ask(known, { hash })).der)
  expect(await status(good)).toEqual({ status: 'good' })
  expect(await status(unknown)).toEqual({ status: 'unknown' })
  const revokedAt = daysFrom(now, -1)
  expect(await status(revoked)).toEqual({ status: 'revoked', revokedAt, reason: 1 })
  expect(await status({ ...revoked, reason: 0 })).toMatchObject({ reason: 0 })
  expect(await status({ ...revoked, reason: 6 })).toMatchObject({ reason: 6 })
})

test.each<KeyAlgorithm>(['P-384', 'RSA-2048', 'Ed25519', 'ML-DSA-44', 'ML-DSA-65'])(
  'V10 a responder with a key of the kind %s',
  async (algorithm) => {
    const by = await makeResponder(issuer, algorithm)
    expect(check((await ask(good, { by })).der)).toEqual({ status: 'good' })
  },
)

test('V10 the fixed bytes: no version, no fractions, the CertID as it came', async () => {
  const at = new Date(now.getTime() + 987)
  const known = { ...good, thisUpdate: at }
  const { data, responses, responder: named } = basicOf((await ask(known)).der)
  expect(data.subarray(3, 7).toString('hex')).toBe('a2160414')
  expect(named.by).toBe('key')
  const certId = encodeCertId('sha1', responder.hashes, serial)
  const times = [encodeGeneralizedTime(now), encodeGeneralizedTime(daysFrom(now, 1))]
  expect(times[0]?.toString('latin1')).toBe('\x18\x0f20260301120000Z')
  expect(responses[0]?.certId.der).toEqual(certId)
  const expected = Buffer.concat([
    certId,
    Buffer.from('8000', 'hex'),
    times[0] ?? Buffer.alloc(0),
    Buffer.from('a011', 'hex'),
    times[1] ?? Buffer.alloc(0),
  ])
  expect(data.includes(expected)).toBe(true)
  // `expected` holds two of the three times whole; the third, producedAt, stands behind the key's hash.
  expect(data.subarray(27, 44)).toEqual(times[0])
  const withReason = basicOf((await ask(revoked)).der).data.toString('hex')
  expect(withReason).toMatch(/a116180f[0-9a-f]{30}a0030a0101/)
  expect(basicOf((await ask({ ...revoked, reason: 0 })).der).data.toString('hex')).toMatch(
    /a111180f[0-9a-f]{30}180f/,
  )
})

test('V10 the nonce comes back, and only when one was sent', async () => {
  const nonce = Buffer.alloc(128, 5)
  const answer = await ask(good, { nonce })
  expect(basicOf(answer.der).nonce).toEqual(nonce)
  expect(check(answer.der, { nonce })).toEqual({ status: 'good' })
  expectRefusal(() => check(answer.der, { nonce: Buffer.alloc(128, 6) }), 'ocsp')
  const bare = await ask(good)
  expect(basicOf(bare.der).nonce).toBeUndefined()
  expectRefusal(() => check(bare.der, { nonce }), 'ocsp')
})

test('V10 many serials in one answer, each with its own status', async () => {
  const serials = [newSerial(), newSerial(), newSerial()]
  const answer = await ask([good, revoked, unknown], { serials })
  const statuses = serials.map((one) => check(answer.der, { serial: one }).status)
  expect(statuses).toEqual(['good', 'revoked', 'unknown'])
  await expect(ask([good, good], { serials })).rejects.toMatchObject({ code: 'ocsp' })
})

test('V10 another issuer is unauthorized, alone or among ours; what is no request is malformed', async () => {
  const foreign = await ask(good, { of: root })
  expect(foreign.der.toString('hex')).toBe('30030a0106')
  expectRefusal(() => check(foreign.der), 'ocsp')
  const mixed = buildOcspRequest([
    encodeCertId('sha1', responder.hashes, serial),
    encodeCertId('sha1', issuerHashes(root.certificate), serial),
  ])
  const never = async () => await Promise.reject(new Error('Nothing is looked up'))
  expect((await answerOcsp(mixed, responder, never, now)).status).toBe('unauthorized')
  const malformed = await answerOcsp(Buffer.from('3000', 'hex'), responder, never, now)
  expect(malformed.der.toString('hex')).toBe('30030a0101')
  expect(ocspError('internalError').der.toString('hex')).toBe('30030a0102')
  expect(ocspError('tryLater').der.toString('hex')).toBe('30030a0103')
})

test('A24 a source that is down gives no status', async () => {
  const request = buildOcspRequest([encodeCertId('sha1', responder.hashes, serial)])
  const down = async () => await Promise.reject(new Error('down'))
  await expect(answerOcsp(request, responder, down, now)).rejects.toThrow('down')
  await expect(ask([])).rejects.toMatchObject({ code: 'ocsp' })
  for (const reason of [7, 8, 11]) {
    await expect(ask({ ...revoked, reason })).rejects.toMatchObject({ code: 'ocsp' })
  }
  await expect(ask({ ...good, nextUpdate: now })).rejects.toMatchObject({ code: 'ocsp' })
})

test.each<CertIdHash>(['sha1', 'sha256'])('V10 pre-signed and live agree, by %s', async (hash) => {
  for (const known of [good, revoked, unknown]) {
    const live = await ask(known, { hash })
    const made = await presignOcsp(responder, serial, known, { hash, now })
    expect(basicOf(made.der).data).toEqual(basicOf(live.der).data)
    expect(check(made.der).status).toBe(known.status)
    expect(made.validity).toEqual(live.validity)
  }
})

test('V10 caching ends with the status; errors and nonces are not kept', async () => {
  const headers = ocspCacheHeaders(await ask(good), new Date(now.getTime() + 1500))
  expect(headers).toMatchObject({
    'cache-control': `max-age=${86_400 - 2}, public, no-transform, must-revalidate`,
    expires: 'Mon, 02 Mar 2026 12:00:00 GMT',
    'last-modified': 'Sun, 01 Mar 2026 12:00:00 GMT',
  })
  expect(headers['etag']).toMatch(/^"[0-9a-f]{64}"$/)
  const none = { 'cache-control': 'no-store' }
  expect(ocspCacheHeaders(await ask(good), daysFrom(now, 1))).toEqual(none)
  expect(ocspCacheHeaders(await ask(good, { nonce: Buffer.alloc(8) }), now)).toEqual(none)
  expect(ocspCacheHeaders(ocspError('tryLater'), now)).toEqual(none)
  const early = { ...unknown, nextUpdate: daysFrom(now, 0.5) }
  const mixed = await ask([good, early], { serials: [newSerial(), newSerial()] })
  expect(ocspCacheHeaders(mixed, now)['cache-control']).toContain('max-age=43200,')
})

test('V10 a responder needs the certificate of its issuer, for OCSP, with its own key', async () => {
  const input = deviceInput(issuer, responder.signer.spki)
  const device = await issue('device', issuer, input)
  expectRefusal(() => ocspResponder(issuer.certificate, device, responder.signer), 'ocsp')
  const other = await makeIssuer(root)
  const [certificate] = basicOf((await ask(good)).der).certificates
  expect(certificate).toBeDefined()
  const theirs = await makeResponder(other)
  const [foreign] = basicOf((await ask(good, { of: other, by: theirs })).der).certificates
  expect(foreign).not.toEqual(certificate)
  // Same name, other key: what the other issuer's responder says of our issuer is not believed.
  const answer = await ask(good, { by: { ...theirs, hashes: responder.hashes } })
  expectRefusal(() => check(answer.der), 'ocsp')
})

test('V10 an answer is believed within its time, for its serial, signed, by a responder', async () => {
  const { der } = await ask(good)
  const at = (time: Date, maxSkewMs = 0) => check(der, { at: time, maxSkewMs })
  expectRefusal(() => at(new Date(now.getTime() - 1000)), 'ocsp')
  expect(at(new Date(now.getTime() - 1000), 1000)).toEqual({ status: 'good' })
  expect(at(daysFrom(now, 1))).toEqual({ status: 'good' })
  expectRefusal(() => at(daysFrom(now, 1.1)), 'ocsp')
  // The responder's certificate has run out.
  const lasting = await ask({ ...good, nextUpdate: daysFrom(now, 100) })
  expectRefusal(() => check(lasting.der, { at: daysFrom(now, 40) }), 'ocsp')
  expectRefusal(() => check(der, { serial: newSerial() }), 'ocsp')
  expectRefusal(() => check(der, { issuer: root.certificate }), 'ocsp')
  const changed = Buffer.from(der)
  const place = der.lastIndexOf(responder.signer.algorithm)
  const at64 = der.indexOf(Buffer.from('8000180f', 'hex'))
  expect(at64).toBeLessThan(place)
  changed[at64 + 6] = 0x33
  expectRefusal(() => check(changed), 'ocsp', 'der')
})

test('V10 a device certificate of the same issuer is no responder', async () => {
  const key = generatePrivateKey('P-256')
  const device = await issue('device', issuer, deviceInput(issuer, spkiOf(key)))
  const by: OcspResponder = {
    ...responder,
    signer: softwareSigner(key),
    responderId: contextConstructed(2, octetString(responderKeyHash(device.spki))),
    certificates: contextConstructed(0, sequence(device.der)),
  }
  const { der } = await ask(good, { by })
  expectRefusal(() => check(der), 'ocsp')
})

test('V10 of contradicting answers the worse one counts', async () => {
  const serials = [serial, serial, serial]
  const of = async (...known: SerialStatus[]) => check((await ask(known, { serials })).der).status
  expect(await of(good, revoked, unknown)).toBe('revoked')
  expect(await of(good, good, unknown)).toBe('unknown')
  expect(await of(good, good, good)).toBe('good')
})

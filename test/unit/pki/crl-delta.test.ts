import { beforeAll, expect, test } from 'vitest'

import type { CrlInput, RevokedCertificate } from '../../../pki/crl/build.ts'
import { buildCrl } from '../../../pki/crl/build.ts'
import { applyDelta, deltaEntries, isDeltaTo } from '../../../pki/crl/delta.ts'
import type { Crl } from '../../../pki/crl/parse.ts'
import { crlEntries, findRevoked, parseCrl } from '../../../pki/crl/parse.ts'
import { crlReasons } from '../../../pki/crl/revocation.ts'
import type { CrlStatus } from '../../../pki/crl/status.ts'
import { statusByCrls } from '../../../pki/crl/status.ts'
import { oids } from '../../../pki/der/oids.ts'
import { encodeTime } from '../../../pki/der/time.ts'
import { contextConstructed, integer, sequence } from '../../../pki/der/writer.ts'
import { generatePrivateKey, spkiOf } from '../../../pki/keys.ts'
import { encodeExtension } from '../../../pki/x509/extension-writer.ts'
import { newSerial } from '../../../pki/x509/issue.ts'
import type { Certificate } from '../../../pki/x509/parse.ts'
import { crlInput, makeCrl } from '../../support/crl-fixture.ts'
import type { Authority } from '../../support/pki-fixture.ts'
import {
  crlUrl,
  daysFrom,
  deviceInput,
  expectRefusal,
  issue,
  makeIssuer,
  makeRoot,
  now,
  signRaw,
} from '../../support/pki-fixture.ts'

const { certificateHold, keyCompromise, removeFromCRL, superseded } = crlReasons
const spki = spkiOf(generatePrivateKey('P-256'))
const shard = { url: crlUrl }
const delta = { baseNumber: 7n }
let root: Authority
let issuer: Authority
let device: Certificate

beforeAll(async () => {
  root = await makeRoot()
  issuer = await makeIssuer(root)
  device = await issue('device', issuer, deviceInput(issuer, spki))
})

function held(serial: Buffer): RevokedCertificate {
  return { serial, revokedAt: daysFrom(now, -1), reason: certificateHold }
}

test('V3 V4 a full CRL and its delta give the list as it is now', async () => {
  const [kept, released, hardened, fresh] = Array.from({ length: 4 }, newSerial)
  if (!kept || !released || !hardened || !fresh) throw new Error('Four serials')
  const final = { ...held(kept), reason: superseded }
  const before = [final, held(released), held(hardened)]
  const after = [
    final,
    { ...held(hardened), reason: keyCompromise },
    { ...held(fresh), reason: superseded },
  ]
  const base = await makeCrl(issuer, before, { shard, freshestUrl: `${crlUrl}/delta` })
  const changes = await makeCrl(issuer, deltaEntries(before, after), { shard, delta, number: 9n })
  expect(changes.baseNumber).toBe(7n)
  expect(changes.entryCount).toBe(3)
  expect(findRevoked(changes, released)?.reason).toBe(removeFromCRL)
  expect(findRevoked(changes, kept)).toBeUndefined()
  const combined = [...applyDelta(base, changes).values()]
  const full = await makeCrl(issuer, after, { shard, number: 9n })
  expect(combined).toHaveLength(3)
  expect(combined).toEqual(expect.arrayContaining([...crlEntries(full)]))
})

test('V2 a delta never takes back a final revocation, even if its record is gone', () => {
  const entries = [superseded, keyCompromise, undefined].map((reason) => ({
    ...held(newSerial()),
    reason,
  }))
  expect([...deltaEntries(entries, [])]).toEqual([])
  expect([...deltaEntries([held(newSerial())], [])]).toMatchObject([{ reason: removeFromCRL }])
})

test('a change of less than a second or of nothing is no change', () => {
  const entry = held(newSerial())
  const later = { ...entry, revokedAt: new Date(entry.revokedAt.getTime() + 900) }
  expect([...deltaEntries([entry], [later])]).toEqual([])
  expect([...deltaEntries([{ ...entry, reason: 0 }], [{ ...entry, reason: undefined }])]).toEqual(
    [],
  )
})

test('the fixed bytes of a delta and of its base', () => {
  const full = buildCrl(crlInput(issuer, [], { freshestUrl: 'http://a/d' }))
  const url = Buffer.from('http://a/d').toString('hex')
  expect(full.toString('hex')).toContain(`0603551d2e041430123010a00ea00c860a${url}`)
  const changes = buildCrl(crlInput(issuer, [], { delta, number: 8n, shard }))
  expect(changes.toString('hex')).toContain('300d0603551d1b0101ff0403020107')
})

test.each<[name: string, change: Partial<CrlInput>]>([
  ['to itself', { delta: { baseNumber: 7n } }],
  ['to a later CRL', { delta: { baseNumber: 8n } }],
  ['to number 0', { delta: { baseNumber: 0n } }],
  ['with deltas of its own', { number: 8n, delta, freshestUrl: crlUrl }],
])('V3 no delta is built %s', (_, change) => {
  expectRefusal(() => buildCrl(crlInput(issuer, [], change)), 'crl')
})

test('V4 V8 removeFromCRL is for deltas, written and read', async () => {
  const entry = { ...held(newSerial()), reason: removeFromCRL }
  expectRefusal(() => buildCrl(crlInput(issuer, [entry])), 'crl')
  expect((await makeCrl(issuer, [entry], { delta, number: 8n })).entryCount).toBe(1)
  // The same list without the indicator, signed by the issuer all the same.
  const tbs = buildCrl(crlInput(issuer, [entry], { delta, number: 8n }))
  const indicator = Buffer.from('300d0603551d1b0101ff0403020107', 'hex')
  const harmless = encodeExtension('1.2.840.1.1.1', false, integer(7))
  expect(harmless.length).toBe(indicator.length)
  const at = tbs.indexOf(indicator)
  const forged = Buffer.concat([tbs.subarray(0, at), harmless, tbs.subarray(at + indicator.length)])
  const der = await signRaw(forged, issuer)
  expectRefusal(() => parseCrl(der), 'crl')
})

const number = encodeExtension(oids.cRLNumber, false, integer(8))
const indicatorTo = (base: number, critical = true) =>
  encodeExtension(oids.deltaCRLIndicator, critical, integer(base))

test.each<[name: string, extensions: () => Buffer[], isRead: boolean]>([
  ['a delta', () => [number, indicatorTo(7)], true],
  ['a delta that is not marked critical', () => [number, indicatorTo(7, false)], false],
  ['a delta to a later CRL', () => [number, indicatorTo(9)], false],
  [
    'a point that is not marked critical',
    () => [number, encodeExtension(oids.issuingDistributionPoint, false, idpValue())],
    false,
  ],
  [
    'a point that is',
    () => [number, encodeExtension(oids.issuingDistributionPoint, true, idpValue())],
    true,
  ],
  ['a critical number', () => [encodeExtension(oids.cRLNumber, true, integer(8))], false],
])('%s', async (_, extensions, isRead) => {
  const head = [integer(1), issuer.signer.algorithm, issuer.certificate.subject]
  const times = [encodeTime(now), encodeTime(daysFrom(now, 1))]
  const tbs = sequence(...head, ...times, contextConstructed(0, sequence(...extensions())))
  const der = await signRaw(tbs, issuer)
  if (isRead) expect(parseCrl(der).number).toBe(8n)
  else expectRefusal(() => parseCrl(der), 'crl')
})

function idpValue(): Buffer {
  return Buffer.from('30038101ff', 'hex')
}

test('a delta belongs to CRLs of its own scope, key and number only', async () => {
  const changes = await makeCrl(issuer, [], { shard, delta, number: 9n })
  const base = async (change: Partial<CrlInput>) =>
    isDeltaTo(changes, await makeCrl(issuer, [], { shard, ...change }))
  expect(await base({})).toBe(true)
  expect(await base({ number: 8n })).toBe(true)
  expect(await base({ number: 6n })).toBe(false)
  expect(await base({ number: 9n })).toBe(false)
  expect(await base({ shard: undefined })).toBe(false)
  expect(await base({ shard: { url: `${crlUrl}x` } })).toBe(false)
  expect(await base({ issuerKeyId: Buffer.alloc(20) })).toBe(false)
  const stranger = await makeCrl(await makeIssuer(root), [], { shard })
  expect(isDeltaTo(changes, stranger)).toBe(false)
  expectRefusal(() => applyDelta(stranger, changes), 'crl')
})

interface Lists {
  entry?: RevokedCertificate
  deltaEntry?: RevokedCertificate
  base?: Partial<CrlInput>
  delta?: Partial<CrlInput> | false
}

async function status(lists: Lists, at = now, maxSkewMs = 0): Promise<CrlStatus['status']> {
  const all = [await makeCrl(issuer, lists.entry ? [lists.entry] : [], { shard, ...lists.base })]
  if (lists.delta !== false) {
    const entries = lists.deltaEntry ? [lists.deltaEntry] : []
    all.push(await makeCrl(issuer, entries, { shard, delta, number: 8n, ...lists.delta }))
  }
  return statusByCrls(device, issuer.certificate, all, { at, maxSkewMs }).status
}

test('A1 A24 the status by CRLs: listed, released, and unknown where nothing speaks', async () => {
  const entry = held(device.serial)
  const gone = { ...entry, reason: removeFromCRL }
  expect(await status({})).toBe('good')
  expect(await status({ delta: false })).toBe('good')
  expect(await status({ entry })).toBe('revoked')
  expect(await status({ deltaEntry: entry })).toBe('revoked')
  expect(await status({ entry, deltaEntry: gone })).toBe('good')
  // A delta to another CRL takes nothing back.
  const foreign = { delta: { baseNumber: 8n }, number: 9n }
  expect(await status({ entry, deltaEntry: gone, delta: foreign })).toBe('revoked')
  expect(await status({ base: { shard: { url: `${crlUrl}x` } } })).toBe('unknown')
  expect(await status({}, daysFrom(now, 8))).toBe('unknown')
  expect(statusByCrls(device, issuer.certificate, [], { at: now }).status).toBe('unknown')
  const forged = await makeCrl({ ...issuer, signer: root.signer }, [], { shard })
  expect(statusByCrls(device, issuer.certificate, [forged], { at: now }).status).toBe('unknown')
})

test('V12 a CRL from the future counts within the skew that is allowed', async () => {
  const slow = new Date(now.getTime() - 60_000)
  expect(await status({}, slow)).toBe('unknown')
  expect(await status({}, slow, 60_000)).toBe('good')
  expect(await status({}, slow, 59_000)).toBe('unknown')
})

test('a CRL of user certificates does not speak for a CA', async () => {
  const rootCrl = await makeCrl(root, [], {})
  const shardOfRoot = await makeCrl(root, [], { shard })
  const of = (lists: (typeof rootCrl)[]) =>
    statusByCrls(issuer.certificate, root.certificate, lists, { at: now }).status
  expect(of([rootCrl])).toBe('good')
  expect(of([shardOfRoot])).toBe('unknown')
})

test('P12 an ML-DSA issuer makes CRLs and deltas', async () => {
  const pqIssuer = await makeIssuer(root, {}, 'ML-DSA-65')
  const pqDevice = await issue('device', pqIssuer, deviceInput(pqIssuer, spki))
  const full = await makeCrl(pqIssuer, [], { shard })
  const changes = await makeCrl(pqIssuer, [held(pqDevice.serial)], { shard, delta, number: 8n })
  const status = (...lists: Crl[]) =>
    statusByCrls(pqDevice, pqIssuer.certificate, lists, { at: now }).status
  expect(status(full)).toBe('good')
  expect(status(full, changes)).toBe('revoked')
})

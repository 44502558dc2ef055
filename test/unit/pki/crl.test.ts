import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'

import type { CrlInput, RevokedCertificate } from '../../../pki/crl/build.ts'
import { buildCrl, signCrl } from '../../../pki/crl/build.ts'
import { crlEntries, findRevoked, parseCrl, verifyCrl } from '../../../pki/crl/parse.ts'
import { oids } from '../../../pki/der/oids.ts'
import { encodeTime } from '../../../pki/der/time.ts'
import {
  contextConstructed,
  enumerated,
  integer,
  nullValue,
  sequence,
} from '../../../pki/der/writer.ts'
import { PkiError } from '../../../pki/errors.ts'
import { generatePrivateKey, spkiOf } from '../../../pki/keys.ts'
import { encodeExtension } from '../../../pki/x509/extension-writer.ts'
import { newSerial } from '../../../pki/x509/issue.ts'
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

let issuer: Authority
let root: Authority

beforeAll(async () => {
  root = await makeRoot()
  issuer = await makeIssuer(root)
})

function input(revoked: Iterable<RevokedCertificate>, change: Partial<CrlInput> = {}): CrlInput {
  const { subject, subjectKeyId } = issuer.certificate
  return {
    issuerName: subject,
    issuerKeyId: subjectKeyId ?? Buffer.alloc(0),
    signatureAlgorithm: issuer.signer.algorithm,
    number: 7n,
    thisUpdate: now,
    nextUpdate: daysFrom(now, 7),
    revoked,
    ...change,
  }
}

const entry = (change: Partial<RevokedCertificate> = {}): RevokedCertificate => ({
  serial: newSerial(),
  revokedAt: now,
  ...change,
})

test('a CRL reads back as what went in, and verifies with its issuer only', async () => {
  const revoked = [
    entry(),
    entry({ reason: 1 }),
    entry({ reason: 10, revokedAt: daysFrom(now, -3) }),
  ]
  const crl = parseCrl(await signCrl(buildCrl(input(revoked)), issuer.signer))
  expect(crl.number).toBe(7n)
  expect(crl.thisUpdate).toEqual(now)
  expect(crl.nextUpdate).toEqual(daysFrom(now, 7))
  expect(crl.authorityKeyId).toEqual(issuer.certificate.subjectKeyId)
  expect(crl.entryCount).toBe(3)
  expect([...crlEntries(crl)]).toEqual(revoked.map((one) => ({ reason: 0, ...one })))
  expect(findRevoked(crl, revoked[1]?.serial ?? Buffer.alloc(0))?.reason).toBe(1)
  expect(findRevoked(crl, newSerial())).toBeUndefined()
  expect(verifyCrl(crl, issuer.certificate)).toBe(true)
  expect(verifyCrl(crl, root.certificate)).toBe(false)
  const leaf = await issue(
    'device',
    issuer,
    deviceInput(issuer, spkiOf(generatePrivateKey('P-256'))),
  )
  expect(verifyCrl(crl, leaf)).toBe(false)
})

test('V7 an empty CRL leaves revokedCertificates out', async () => {
  const crl = parseCrl(await signCrl(buildCrl(input([])), issuer.signer))
  expect(crl.entryCount).toBe(0)
  expect([...crlEntries(crl)]).toEqual([])
})

test('V8 reason 0 is not written, 7 and those of deltas are refused', () => {
  expect(buildCrl(input([entry({ reason: 0 })]))).toHaveLength(buildCrl(input([entry()])).length)
  for (const reason of [7, 8, 11, -1, 1.5]) {
    expectRefusal(() => buildCrl(input([entry({ reason })])), 'crl')
  }
  expect(buildCrl(input([entry({ reason: 9 })])).length).toBeGreaterThan(0)
})

test('serials are positive INTEGERs of at most 20 octets', async () => {
  const serials = ['01', '7f', '0080', '00ff01', `41${'00'.repeat(19)}`]
  const revoked = serials.map((hex) => entry({ serial: Buffer.from(hex, 'hex') }))
  const crl = parseCrl(await signCrl(buildCrl(input(revoked)), issuer.signer))
  expect([...crlEntries(crl)].map(({ serial }) => serial.toString('hex'))).toEqual(serials)
  const bare = parseCrl(
    await signCrl(buildCrl(input([entry({ serial: Buffer.from('80', 'hex') })])), issuer.signer),
  )
  expect(findRevoked(bare, Buffer.from('0080', 'hex'))).toBeDefined()
  for (const hex of ['', '00', '41'.repeat(21), '80'.repeat(20)]) {
    expectRefusal(() => buildCrl(input([entry({ serial: Buffer.from(hex, 'hex') })])), 'crl')
  }
})

test('a CRL number is positive, and the next update comes later', () => {
  for (const number of [0n, -1n, 1n << 159n]) {
    expectRefusal(() => buildCrl(input([], { number })), 'crl')
  }
  expectRefusal(() => buildCrl(input([], { nextUpdate: now })), 'crl')
  expect(buildCrl(input([], { number: (1n << 159n) - 1n })).length).toBeGreaterThan(0)
})

test('P9 the IDP of a shard repeats the bytes of the CDP of its certificates', async () => {
  const tbs = buildCrl(input([], { shard: { url: crlUrl } }))
  const { issuingDistributionPoint } = parseCrl(await signCrl(tbs, issuer.signer))
  const leaf = await issue(
    'device',
    issuer,
    deviceInput(issuer, spkiOf(generatePrivateKey('P-256'))),
  )
  expect(issuingDistributionPoint?.uris).toEqual([crlUrl])
  expect(issuingDistributionPoint?.onlyUserCertificates).toBe(true)
  expect(issuingDistributionPoint?.name).toBeDefined()
  expect(issuingDistributionPoint?.name).toEqual(leaf.crlDistributionPoints?.[0]?.name)
})

/** FLEETSEAL_LARGE=1 runs what is too long for every change, and holds time and memory to their limits. */
const isLarge = process.env['FLEETSEAL_LARGE'] === '1'
const sizes = isLarge ? [100_000, 1_000_000] : [100_000]

test.each(sizes)(
  'V9 %i entries keep their order and number',
  { timeout: 180_000 },
  async (count) => {
    function* many() {
      for (let place = 0; place < count; place += 1) {
        const serial = Buffer.alloc(16, 0x41)
        serial.writeUInt32BE(place, 12)
        yield { serial, revokedAt: now, reason: 1 }
      }
    }
    const cpuBefore = process.cpuUsage()
    const memoryBefore = process.memoryUsage().arrayBuffers
    const tbs = buildCrl(input(many()))
    const { user, system } = process.cpuUsage(cpuBefore)
    const bytes = process.memoryUsage().arrayBuffers - memoryBefore
    if (isLarge) {
      console.info(`${count} entries: ${(user + system) / 1000} ms, ${bytes / 2 ** 20} MiB`)
      // 150 ms and 200 MB for 100,000 (issue of the device PKI), and no worse than in proportion.
      expect(user + system).toBeLessThan(count * 1.5)
      expect(bytes).toBeLessThan(count * 2000)
    }
    const der = await signCrl(tbs, issuer.signer)
    const crl = parseCrl(der)
    expect(crl.entryCount).toBe(count)
    expect(crl.entries).toHaveLength(49 * count)
    const last = Buffer.alloc(16, 0x41)
    last.writeUInt32BE(count - 1, 12)
    expect(findRevoked(crl, last)?.reason).toBe(1)
    expectRefusal(() => parseCrl(der, 1_000_000), 'der')
  },
)

test('signing checks the algorithm', async () => {
  const tbs = buildCrl(input([], { signatureAlgorithm: root.signer.algorithm }))
  await expect(signCrl(tbs, issuer.signer)).rejects.toMatchObject({ code: 'crl' })
  await expect(signCrl(Buffer.alloc(3), issuer.signer)).rejects.toThrow(PkiError)
})

interface Parts {
  version?: Buffer
  nextUpdate?: Buffer
  entries?: Buffer
  extensions?: Buffer[]
}

const numbered = encodeExtension(oids.cRLNumber, false, integer(1))

async function rawCrl(parts: Parts = {}): Promise<Buffer> {
  const tbs = sequence(
    parts.version ?? integer(1),
    issuer.signer.algorithm,
    issuer.certificate.subject,
    encodeTime(now),
    parts.nextUpdate ?? encodeTime(daysFrom(now, 1)),
    parts.entries ?? Buffer.alloc(0),
    contextConstructed(0, sequence(...(parts.extensions ?? [numbered]))),
  )
  return await signRaw(tbs, issuer)
}

function rawEntry(...extensions: Buffer[]): Buffer {
  const list = extensions.length > 0 ? [sequence(...extensions)] : []
  return sequence(sequence(integer(5), encodeTime(now), ...list))
}

const idp = (hex: string) =>
  encodeExtension(oids.issuingDistributionPoint, true, Buffer.from(hex, 'hex'))
const reasonOf = (reason: number, critical = false) =>
  encodeExtension(oids.cRLReason, critical, enumerated(reason))

test('the honest twin of the lists below is read', async () => {
  const der = await rawCrl({ entries: rawEntry(reasonOf(1)) })
  expect(parseCrl(der).entryCount).toBe(1)
  expect(parseCrl(await rawCrl({ extensions: [numbered, idp('30038101ff')] })).number).toBe(1n)
})

test.each<[name: string, parts: () => Parts]>([
  ['version 1', () => ({ version: Buffer.alloc(0) })],
  ['version 3', () => ({ version: integer(2) })],
  ['no next update', () => ({ nextUpdate: Buffer.alloc(0) })],
  ['a next update in the past', () => ({ nextUpdate: encodeTime(daysFrom(now, -1)) })],
  ['an empty list', () => ({ entries: sequence() })],
  ['no number', () => ({ extensions: [encodeExtension('1.2.3', false, nullValue())] })],
  [
    'a negative number',
    () => ({ extensions: [encodeExtension(oids.cRLNumber, false, Buffer.from('0201ff', 'hex'))] }),
  ],
  [
    'a critical extension',
    () => ({ extensions: [numbered, encodeExtension('1.2.3', true, nullValue())] }),
  ],
  ['an extension twice', () => ({ extensions: [numbered, numbered] })],
  ['an indirect CRL', () => ({ extensions: [numbered, idp('30038401ff')] })],
  ['an IDP with FALSE written out', () => ({ extensions: [numbered, idp('3003810100')] })],
  ['only users and only CAs', () => ({ extensions: [numbered, idp('30068101ff8201ff')] })],
  ['reason 7', () => ({ entries: rawEntry(reasonOf(7)) })],
  ['reason 11', () => ({ entries: rawEntry(reasonOf(11)) })],
  ['a critical entry extension', () => ({ entries: rawEntry(reasonOf(1, true)) })],
  [
    'a negative serial',
    () => ({ entries: sequence(sequence(Buffer.from('0201ff', 'hex'), encodeTime(now))) }),
  ],
  ['an entry without a time', () => ({ entries: sequence(sequence(integer(5))) })],
])('a CRL is refused: %s', async (_, parts) => {
  const der = await rawCrl(parts())
  expectRefusal(() => parseCrl(der), 'der', 'crl')
})

test('F1 each prefix of a CRL is refused and each mutation fails to parse or to verify', async () => {
  const der = await signCrl(buildCrl(input([entry({ reason: 4 }), entry()])), issuer.signer)
  for (let length = 0; length < der.length; length += 1) {
    expectRefusal(() => parseCrl(der.subarray(0, length)), 'der')
  }
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(der)
      changed[at] = (changed[at] ?? 0) ^ flip
      try {
        expect(verifyCrl(parseCrl(changed), issuer.certificate)).toBe(false)
      } catch (error) {
        if (!(error instanceof PkiError)) throw error
      }
    }),
    { seed: 6, numRuns: 400 },
  )
})

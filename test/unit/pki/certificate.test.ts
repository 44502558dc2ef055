import { createPrivateKey, X509Certificate } from 'node:crypto'

import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'

import { oids } from '../../../pki/der/oids.ts'
import { PkiError } from '../../../pki/errors.ts'
import type { KeyAlgorithm } from '../../../pki/keys.ts'
import { generatePrivateKey, keyIdentifier, spkiOf } from '../../../pki/keys.ts'
import { encodeName } from '../../../pki/names.ts'
import { mustBeVerified, type Signer, softwareSigner } from '../../../pki/signer.ts'
import { newSerial, signCertificate } from '../../../pki/x509/issue.ts'
import { fingerprint, parseCertificate, parseTbs } from '../../../pki/x509/parse.ts'
import { buildTbs, deviceIdentity } from '../../../pki/x509/profiles.ts'
import type { Authority } from '../../support/pki-fixture.ts'
import {
  aiaUrl,
  crlUrl,
  daysFrom,
  deviceId,
  deviceInput,
  expectRefusal,
  issue,
  makeIssuer,
  makeRoot,
  now,
  rawTbs,
  serverInput,
  signRaw,
} from '../../support/pki-fixture.ts'

let root: Authority
let issuer: Authority
const spki = spkiOf(generatePrivateKey('P-256'))

beforeAll(async () => {
  root = await makeRoot()
  issuer = await makeIssuer(root)
})

test('P1 serials have 16 octets, are positive and do not repeat', () => {
  const serials = Array.from({ length: 1000 }, newSerial)
  expect(
    serials.every((serial) => serial.length === 16 && ((serial[0] ?? 0) & 0xc0) === 0x40),
  ).toBe(true)
  expect(new Set(serials.map((serial) => serial.toString('hex'))).size).toBe(1000)
})

test('a device certificate reads back as what went in', async () => {
  const input = deviceInput(issuer, spki)
  const device = await issue('device', issuer, input)
  expect(device.serial).toEqual(input.serial)
  expect(device.issuer).toEqual(issuer.certificate.subject)
  expect(device.subject).toEqual(input.subject)
  expect(device.spki).toEqual(spki)
  expect(device.notBefore).toEqual(input.notBefore)
  expect(device.notAfter).toEqual(input.notAfter)
  expect(device.subjectAltName).toEqual([{ type: 'uri', value: `urn:uuid:${deviceId}` }])
  expect(device.extKeyUsage).toEqual([oids.clientAuth])
  expect(device.keyUsage).toEqual(new Set(['digitalSignature']))
  expect(device.isCa).toBe(false)
  expect(device.crlDistributionPoints?.[0]?.uris).toEqual([crlUrl])
  expect(device.authorityInfoAccess).toEqual([
    { method: oids.caIssuers, location: { type: 'uri', value: aiaUrl } },
  ])
  expect(fingerprint(device.der)).toBe(
    new X509Certificate(device.der).fingerprint256.replaceAll(':', '').toLowerCase(),
  )
})

test('a server certificate has its hosts and both key purposes', async () => {
  const server = await issue('server', issuer, serverInput(issuer, spki))
  expect(server.extKeyUsage).toEqual([oids.serverAuth, oids.cmcRA])
  const node = new X509Certificate(server.der)
  expect(node.checkHost('localhost')).toBe('localhost')
  expect(node.checkIP('127.0.0.1')).toBe('127.0.0.1')
  expect(node.checkHost('example.com')).toBeUndefined()
})

test('P4 the authority key identifier is the subject key identifier of the issuer', async () => {
  const device = await issue('device', issuer, deviceInput(issuer, spki))
  expect(device.authorityKeyId).toEqual(issuer.certificate.subjectKeyId)
  expect(device.subjectKeyId).toEqual(keyIdentifier(spki))
})

test('P5 P6 the fixed bytes of the profiles', async () => {
  const device = await issue('device', issuer, deviceInput(issuer, spki))
  const values = ({ extensions }: typeof device) =>
    [oids.basicConstraints, oids.keyUsage].map((one) => {
      const { critical, value } = extensions.get(one) ?? {}
      return `${critical} ${value?.toString('hex')}`
    })
  expect(values(root.certificate)).toEqual(['true 30030101ff', 'true 03020106'])
  expect(values(issuer.certificate)).toEqual(['true 30060101ff020100', 'true 03020106'])
  expect(values(device)).toEqual(['true 3000', 'true 03020780'])
  expect(root.certificate.extensions.has(oids.extKeyUsage)).toBe(false)
  expect(root.certificate.extensions.has(oids.subjectAltName)).toBe(false)
  expect(device.extensions.get(oids.extKeyUsage)?.critical).toBe(false)
})

test('P8 inner and outer algorithm are the same bytes', async () => {
  const tbs = rawTbs(issuer, { algorithm: root.signer.algorithm })
  expectRefusal(() => parseCertificate(Buffer.concat([tbs])), 'der')
  const der = await signRaw(tbs, issuer)
  expectRefusal(() => parseCertificate(der), 'certificate')
  await expect(signCertificate(tbs, issuer.signer)).rejects.toThrow(PkiError)
  const good = parseCertificate(await signRaw(rawTbs(issuer), issuer))
  expect(good.signatureAlgorithm).toEqual(issuer.signer.algorithm)
})

test('P3 99991231235959Z is written as GeneralizedTime', () => {
  const tbs = buildTbs('idevid', {
    ...deviceInput(issuer, spki),
    notAfter: new Date('9999-12-31T23:59:59Z'),
  })
  expect(tbs.includes(Buffer.from('99991231235959Z'))).toBe(true)
  expect(parseTbs(tbs).notAfter.getUTCFullYear()).toBe(9999)
})

test('P12 ML-DSA certificates have no parameters and verify', async () => {
  const pqRoot = await makeRoot('ML-DSA-87')
  const pqIssuer = await makeIssuer(pqRoot, {}, 'ML-DSA-65')
  const device = await issue(
    'device',
    pqIssuer,
    deviceInput(pqIssuer, spkiOf(generatePrivateKey('ML-DSA-44'))),
  )
  expect(device.signatureAlgorithm.toString('hex')).toBe('300b0609608648016503040312')
  const node = new X509Certificate(device.der)
  expect(node.verify(new X509Certificate(pqIssuer.certificate.der).publicKey)).toBe(true)
  expect(device.keyUsage).toEqual(new Set(['digitalSignature']))
})

test.each<KeyAlgorithm>(['P-256', 'P-384', 'Ed25519', 'RSA-2048'])(
  'P7 Node verifies what a %s issuer signs',
  async (algorithm) => {
    const signing = await makeIssuer(root, {}, algorithm)
    const device = await issue('device', signing, deviceInput(signing, spki))
    const node = new X509Certificate(device.der)
    const nodeIssuer = new X509Certificate(signing.certificate.der)
    expect(node.verify(nodeIssuer.publicKey)).toBe(true)
    expect(node.checkIssued(nodeIssuer)).toBe(true)
    expect(nodeIssuer.checkIssued(node)).toBe(false)
  },
)

test('an empty subject makes the subjectAltName critical', async () => {
  const input = { ...deviceInput(issuer, spki), subject: encodeName({}) }
  const device = await issue('device', issuer, input)
  expect(device.extensions.get(oids.subjectAltName)?.critical).toBe(true)
})

test('a faulty signer is caught before the certificate leaves', async () => {
  const tbs = buildTbs('device', deviceInput(issuer, spki))
  const faulty: Signer = {
    ...issuer.signer,
    async sign(bytes) {
      const signature = await issuer.signer.sign(bytes)
      signature[signature.length - 1] = (signature.at(-1) ?? 0) ^ 1
      return signature
    },
  }
  await expect(signCertificate(tbs, faulty)).rejects.toMatchObject({ code: 'key' })
  await expect(signCertificate(tbs, issuer.signer)).resolves.toBeInstanceOf(Buffer)
})

test('only an ECDSA signer of our own memory is taken at its word, and no copy of it', () => {
  expect(mustBeVerified(softwareSigner(generatePrivateKey('P-256')))).toBe(false)
  expect(mustBeVerified({ ...issuer.signer })).toBe(true)
  for (const algorithm of ['Ed25519', 'RSA-2048', 'ML-DSA-44'] as const) {
    expect(mustBeVerified(softwareSigner(generatePrivateKey(algorithm))), algorithm).toBe(true)
  }
})

test('a stored EC key with the public part of another one is refused', () => {
  const [own, other] = [generatePrivateKey('P-256'), generatePrivateKey('P-256')].map((key) =>
    key.export({ format: 'der', type: 'pkcs8' }),
  ) as [Buffer, Buffer]
  // RFC 5915: the public point is the last 65 octets.
  const mixed = Buffer.concat([own.subarray(0, -65), other.subarray(-65)])
  const keyOf = (der: Buffer) => createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  expect(() => softwareSigner(keyOf(mixed))).toThrow(PkiError)
  expect(softwareSigner(keyOf(own)).spki.subarray(-65)).toEqual(own.subarray(-65))
})

test.each([
  ['a device without identity', 'device', { san: undefined }],
  ['a device with an empty list of names', 'device', { san: [] }],
  ['a device without issuer', 'device', { issuer: undefined }],
  ['a serial of 15 octets', 'device', { serial: Buffer.alloc(15, 0x41) }],
  ['a serial with the top bit', 'device', { serial: Buffer.alloc(16, 0x80) }],
  ['an issuing CA with names', 'issuing', {}],
  ['a root with an issuer', 'root', { san: undefined }],
  ['constraints on a device', 'device', { permittedNames: [encodeName({ organization: 'T' })] }],
  ['a URL with a line feed', 'device', { crlUrl: 'http://a\n' }],
] as const)('the builder refuses %s', (_, profile, change) => {
  expectRefusal(() => buildTbs(profile, { ...deviceInput(issuer, spki), ...change }), 'profile')
})

test('a device id is a lower-case UUID', () => {
  expect(deviceIdentity(deviceId)).toEqual({ type: 'uri', value: `urn:uuid:${deviceId}` })
  for (const bad of ['', 'x', deviceId.toUpperCase(), `${deviceId}\n`, `${deviceId}0`]) {
    expectRefusal(() => deviceIdentity(bad), 'profile')
  }
})

test('F1 each prefix of a certificate is refused and each mutation is total', async () => {
  const { der } = await issue('device', issuer, deviceInput(issuer, spki))
  for (let length = 0; length < der.length; length += 1) {
    expectRefusal(() => parseCertificate(der.subarray(0, length)), 'der')
  }
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(der)
      changed[at] = (changed[at] ?? 0) ^ flip
      try {
        const { tbs, signature } = parseCertificate(changed)
        expect(tbs.length + signature.length).toBeLessThan(changed.length)
      } catch (error) {
        expect(error).toBeInstanceOf(PkiError)
      }
    }),
    { seed: 5, numRuns: 1000 },
  )
})

test('P2 nothing outlives the clock given: times are the arguments, cut to seconds', async () => {
  const notBefore = new Date(now.getTime() + 999)
  const device = await issue('device', issuer, { ...deviceInput(issuer, spki), notBefore })
  expect(device.notBefore).toEqual(now)
  expect(device.notAfter).toEqual(daysFrom(now, 90))
})

import '../support/reflect-metadata.ts'
import { X509Certificate as NodeCertificate } from 'node:crypto'
import { readFileSync } from 'node:fs'

import * as peculiar from '@peculiar/x509'
import * as pkijs from 'pkijs'
import { beforeAll, expect, test } from 'vitest'

import { certsOnly } from '../../pki/cms/certs-only.ts'
import { buildCrl, signCrl } from '../../pki/crl/build.ts'
import { parseCrl } from '../../pki/crl/parse.ts'
import { buildCsr } from '../../pki/csr/build.ts'
import { parseCsr } from '../../pki/csr/parse.ts'
import { oid, nullValue, sequence } from '../../pki/der/writer.ts'
import { PkiError } from '../../pki/errors.ts'
import type { KeyAlgorithm } from '../../pki/keys.ts'
import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { fromPem } from '../../pki/pem.ts'
import type { Certificate } from '../../pki/x509/parse.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { Authority } from '../support/pki-fixture.ts'
import {
  daysFrom,
  deviceId,
  deviceInput,
  expectRefusal,
  issue,
  makeIssuer,
  makeRoot,
  now,
  rawCsr,
  serverInput,
} from '../support/pki-fixture.ts'

// Two object libraries and OpenSSL (inside Node) as second opinions: what we issue, they must read in the
// same way (D1); what we accept, they must not reject (D2).

let root: Authority
let issuer: Authority

beforeAll(async () => {
  root = await makeRoot('P-256')
  issuer = await makeIssuer(root)
})

const bytes = (buffer: ArrayBuffer) => Buffer.from(buffer)
const view = (buffer: Buffer) => new Uint8Array(buffer)

function pkijsCertificate(der: Buffer): pkijs.Certificate {
  return pkijs.Certificate.fromBER(view(der))
}

function expectSameReading(certificate: Certificate): void {
  const theirs = pkijsCertificate(certificate.der)
  expect(bytes(theirs.serialNumber.valueBlock.valueHexView.slice().buffer)).toEqual(
    certificate.serial,
  )
  expect(bytes(theirs.subject.toSchema().toBER())).toEqual(certificate.subject)
  expect(bytes(theirs.issuer.toSchema().toBER())).toEqual(certificate.issuer)
  expect(bytes(theirs.subjectPublicKeyInfo.toSchema().toBER())).toEqual(certificate.spki)
  expect(theirs.notBefore.value).toEqual(certificate.notBefore)
  expect(theirs.notAfter.value).toEqual(certificate.notAfter)
  const extensions = theirs.extensions?.map(({ extnID, critical, extnValue }) => [
    extnID,
    critical,
    Buffer.from(extnValue.valueBlock.valueHexView).toString('hex'),
  ])
  expect(extensions).toEqual(
    [...certificate.extensions.values()].map(({ oid: type, critical, value }) => [
      type,
      critical,
      value.toString('hex'),
    ]),
  )
  const other = new peculiar.X509Certificate(view(certificate.der))
  expect(other.serialNumber).toBe(certificate.serial.toString('hex'))
  expect(bytes(other.subjectName.toArrayBuffer())).toEqual(certificate.subject)
  expect(bytes(other.publicKey.rawData)).toEqual(certificate.spki)
  expect(other.extensions.map(({ type }) => type)).toEqual([...certificate.extensions.keys()])
}

test.each<KeyAlgorithm>(['P-256', 'P-384', 'Ed25519', 'RSA-2048', 'ML-DSA-44'])(
  'D1 a device certificate for a %s key reads the same everywhere',
  async (algorithm) => {
    const spki = spkiOf(generatePrivateKey(algorithm))
    const device = await issue('device', issuer, deviceInput(issuer, spki))
    expectSameReading(device)
    const theirs = pkijsCertificate(device.der)
    expect(await theirs.verify(pkijsCertificate(issuer.certificate.der))).toBe(true)
    expect(await theirs.verify(pkijsCertificate(root.certificate.der))).toBe(false)
  },
)

test('D1 root, issuer and server read the same everywhere', async () => {
  const spki = spkiOf(generatePrivateKey('P-256'))
  const server = await issue('server', issuer, serverInput(issuer, spki))
  for (const one of [root.certificate, issuer.certificate, server]) expectSameReading(one)
  const chain = new peculiar.X509ChainBuilder({
    certificates: [issuer.certificate, root.certificate].map(
      ({ der }) => new peculiar.X509Certificate(view(der)),
    ),
  })
  expect(await chain.build(new peculiar.X509Certificate(view(server.der)))).toHaveLength(3)
})

test('D1 pkijs builds the path to our root', async () => {
  const device = await issue(
    'device',
    issuer,
    deviceInput(issuer, spkiOf(generatePrivateKey('P-256'))),
  )
  const validate = async (anchor: Buffer) => {
    const engine = new pkijs.CertificateChainValidationEngine({
      trustedCerts: [pkijsCertificate(anchor)],
      certs: [issuer.certificate.der, device.der].map(pkijsCertificate),
      checkDate: now,
    })
    return (await engine.verify()).result
  }
  expect(await validate(root.certificate.der)).toBe(true)
  expect(await validate((await makeRoot('P-256')).certificate.der)).toBe(false)
})

test('D1 a CRL reads the same and verifies', async () => {
  const serial = Buffer.from('41'.repeat(16), 'hex')
  const tbs = buildCrl({
    issuerName: issuer.certificate.subject,
    issuerKeyId: issuer.certificate.subjectKeyId ?? Buffer.alloc(0),
    signatureAlgorithm: issuer.signer.algorithm,
    number: 300n,
    thisUpdate: now,
    nextUpdate: daysFrom(now, 7),
    revoked: [{ serial, revokedAt: now, reason: 4 }],
  })
  const crl = parseCrl(await signCrl(tbs, issuer.signer))
  const theirs = pkijs.CertificateRevocationList.fromBER(view(crl.der))
  expect(theirs.thisUpdate.value).toEqual(now)
  expect(theirs.revokedCertificates).toHaveLength(1)
  expect(theirs.crlExtensions?.extensions.map(({ extnID }) => extnID)).toEqual([
    '2.5.29.35',
    '2.5.29.20',
  ])
  expect(await theirs.verify({ issuerCertificate: pkijsCertificate(issuer.certificate.der) })).toBe(
    true,
  )
  const other = new peculiar.X509Crl(view(crl.der))
  expect(other.findRevoked(serial.toString('hex'))?.reason).toBe(4)
})

test.each<KeyAlgorithm>(['P-256', 'P-384', 'Ed25519', 'RSA-2048'])(
  'D1 our %s request verifies elsewhere',
  async (algorithm) => {
    const subject = encodeName({ commonName: 'Pump 7' })
    const der = buildCsr(generatePrivateKey(algorithm), { subject, uris: [`urn:uuid:${deviceId}`] })
    const other = new peculiar.Pkcs10CertificateRequest(view(der))
    expect(await other.verify()).toBe(true)
    expect(bytes(other.subjectName.toArrayBuffer())).toEqual(subject)
    // pkijs knows no Ed25519 in requests.
    if (algorithm === 'Ed25519') return
    expect(await pkijs.CertificationRequest.fromBER(view(der)).verify()).toBe(true)
  },
)

test('D1 a request of @peculiar/x509 is read', async () => {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const request = await peculiar.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=Pump 7',
    keys,
    signingAlgorithm: algorithm,
    extensions: [new peculiar.SubjectAlternativeNameExtension([{ type: 'url', value: 'urn:x:1' }])],
  })
  const csr = parseCsr(bytes(request.rawData))
  expect(csr.subjectAltName).toEqual([{ type: 'uri', value: 'urn:x:1' }])
})

test('D1 pkijs reads our certs-only message', () => {
  const der = certsOnly([issuer.certificate.der, root.certificate.der])
  const info = pkijs.ContentInfo.fromBER(view(der))
  const signed = new pkijs.SignedData({ schema: info.content })
  expect(signed.certificates).toHaveLength(2)
  expect(signed.signerInfos).toHaveLength(0)
})

test('D2 a certificate with one changed bit that we read is read by Node and pkijs too', () => {
  // A stored certificate, so that every run tries the same bits.
  const pem = readFileSync(new URL('../fixtures/pki/device.pem', import.meta.url), 'utf8')
  const [der = Buffer.alloc(0)] = fromPem(pem, 'CERTIFICATE')
  let accepted = 0
  for (let bit = 0; bit < der.length * 8; bit += 1) {
    const changed = Buffer.from(der)
    const at = bit >> 3
    changed[at] = (changed[at] ?? 0) ^ (1 << (bit & 7))
    const ours = orRefused(() => parseCertificate(changed))
    if (!ours) continue
    accepted += 1
    expect(new NodeCertificate(changed).raw.equals(changed)).toBe(true)
    const subject = bytes(pkijsCertificate(changed).subject.toSchema().toBER())
    expect(subject.equals(ours.subject)).toBe(true)
  }
  expect(accepted).toBeGreaterThan(1000)
})

function orRefused<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof PkiError) return undefined
    throw error
  }
}

test('D2 T9 what the oracles let pass and we refuse is on the list', async () => {
  const key = generatePrivateKey('P-256')
  const listed: [name: string, der: Buffer][] = [
    ['version 1', rawCsr(key, { version: Buffer.from('020101', 'hex') })],
    [
      'parameters on ecdsa-with-SHA256',
      rawCsr(key, { algorithm: sequence(oid('1.2.840.10045.4.3.2'), nullValue()) }),
    ],
  ]
  for (const [name, der] of listed) {
    const request = pkijs.CertificationRequest.fromBER(view(der))
    expect(await request.verify(), name).toBe(true)
    expectRefusal(() => parseCsr(der), 'csr')
  }
  expect(parseCsr(rawCsr(key)).publicKey.algorithm).toBe('P-256')
})

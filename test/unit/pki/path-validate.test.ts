import { beforeAll, expect, test } from 'vitest'

import { oids } from '../../../pki/der/oids.ts'
import { nullValue, oid, sequence } from '../../../pki/der/writer.ts'
import { generatePrivateKey, spkiOf } from '../../../pki/keys.ts'
import { encodeName } from '../../../pki/names.ts'
import type { PathFailure, PathOptions } from '../../../pki/path-validate.ts'
import { validatePath } from '../../../pki/path-validate.ts'
import { softwareSigner } from '../../../pki/signer.ts'
import { encodeExtension } from '../../../pki/x509/extension-writer.ts'
import { newSerial, signCertificate } from '../../../pki/x509/issue.ts'
import type { Certificate } from '../../../pki/x509/parse.ts'
import { parseCertificate } from '../../../pki/x509/parse.ts'
import { buildTbs } from '../../../pki/x509/profiles.ts'
import type { Authority, RawTbs } from '../../support/pki-fixture.ts'
import {
  daysFrom,
  deviceInput,
  issue,
  issuedBy,
  makeIssuer,
  makeRoot,
  now,
  rawExtensions,
  rawTbs,
  serverInput,
  signRaw,
} from '../../support/pki-fixture.ts'

let root: Authority
let issuer: Authority
let device: Certificate
const spki = spkiOf(generatePrivateKey('P-256'))
const client: PathOptions = { at: now, purpose: 'clientAuth' }

beforeAll(async () => {
  root = await makeRoot()
  issuer = await makeIssuer(root)
  device = await issue('device', issuer, deviceInput(issuer, spki))
})

const chainOf = (...certificates: { der: Buffer }[]) => certificates.map(({ der }) => der)

function outcome(chain: Buffer[], anchors: Buffer[], options: PathOptions): PathFailure | 'valid' {
  const verdict = validatePath(chain, anchors, options)
  return verdict.valid ? 'valid' : verdict.reason
}

function againstRoot(...certificates: { der: Buffer }[]): PathFailure | 'valid' {
  return outcome(chainOf(...certificates), [root.certificate.der], client)
}

async function raw(by: Authority, parts: RawTbs): Promise<Certificate> {
  return parseCertificate(await signRaw(rawTbs(by, parts), by))
}

const certSign = encodeExtension(oids.keyUsage, true, Buffer.from('03020204', 'hex'))
const unlimitedCa = encodeExtension(oids.basicConstraints, true, Buffer.from('30030101ff', 'hex'))

/** A CA with whatever extensions, signed by `by`. */
async function rawCa(by: Authority, extensions: Buffer[], commonName = 'CA'): Promise<Authority> {
  const signer = softwareSigner(generatePrivateKey('P-256'))
  const subject = encodeName({ organization: 'Test', commonName })
  return { signer, certificate: await raw(by, { subject, spki: signer.spki, extensions }) }
}

test('a device is valid beneath root, with or without the root in the chain', () => {
  const verdict = validatePath(chainOf(device, issuer.certificate), [root.certificate.der], client)
  expect(verdict.valid && verdict.path.map(({ der }) => der)).toEqual([
    device.der,
    issuer.certificate.der,
  ])
  expect(verdict.valid && verdict.anchor.der).toEqual(root.certificate.der)
  expect(againstRoot(device, issuer.certificate, root.certificate)).toBe('valid')
  expect(outcome(chainOf(device), [issuer.certificate.der], client)).toBe('valid')
})

test('A4 time: before, at both ends, after', () => {
  const chain = chainOf(device, issuer.certificate)
  const at = (time: Date) =>
    outcome(chain, [root.certificate.der], { at: time, purpose: 'clientAuth' })
  expect(at(new Date(device.notBefore.getTime() - 1))).toBe('not-yet-valid')
  expect(at(device.notBefore)).toBe('valid')
  expect(at(device.notAfter)).toBe('valid')
  expect(at(new Date(device.notAfter.getTime() + 1))).toBe('expired')
})

test('A6 T1 expired and forged fails as forged, with the clock set back to its notAfter', async () => {
  const expired = await issue('device', issuer, {
    ...deviceInput(issuer, spki),
    notBefore: daysFrom(now, -8),
    notAfter: daysFrom(now, -1),
  })
  const grace: PathOptions = { at: expired.notAfter, purpose: 'clientAuth' }
  const anchors = [root.certificate.der]
  expect(outcome(chainOf(expired, issuer.certificate), anchors, client)).toBe('expired')
  expect(outcome(chainOf(expired, issuer.certificate), anchors, grace)).toBe('valid')

  const strangerRoot = await makeRoot()
  const stranger = await makeIssuer(strangerRoot)
  const input = {
    ...deviceInput(issuer, spki),
    notAfter: expired.notAfter,
    notBefore: expired.notBefore,
  }
  const forged = await issue('device', stranger, {
    ...input,
    signatureAlgorithm: stranger.signer.algorithm,
  })
  expect(forged.authorityKeyId).toEqual(expired.authorityKeyId)
  // Same issuer name, same key identifier, another key.
  expect(outcome(chainOf(forged, issuer.certificate), anchors, grace)).toBe('signature')
  expect(outcome(chainOf(forged, stranger.certificate), anchors, grace)).toBe('signature')
  const damaged = Buffer.from(expired.der)
  damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1
  expect(outcome([damaged, issuer.certificate.der], anchors, grace)).toBe('signature')
  const server = await issue('server', issuer, {
    ...serverInput(issuer, spki),
    notBefore: expired.notBefore,
    notAfter: expired.notAfter,
  })
  expect(outcome(chainOf(server, issuer.certificate), anchors, grace)).toBe('purpose')
})

test('A8 a server certificate is no client certificate, and the other way round', async () => {
  const server = await issue('server', issuer, serverInput(issuer, spki))
  expect(againstRoot(server, issuer.certificate)).toBe('purpose')
  const anchors = [root.certificate.der]
  const asServer: PathOptions = { at: now, purpose: 'serverAuth' }
  expect(outcome(chainOf(server, issuer.certificate), anchors, asServer)).toBe('valid')
  expect(outcome(chainOf(device, issuer.certificate), anchors, asServer)).toBe('purpose')
})

test('A8 without extended key usage a TLS client is fine, a signer is not', async () => {
  const plain = await raw(issuer, {})
  expect(againstRoot(plain, issuer.certificate)).toBe('valid')
  const signing: PathOptions = { at: now, purpose: 'codeSigning' }
  expect(outcome(chainOf(plain, issuer.certificate), [root.certificate.der], signing)).toBe(
    'purpose',
  )
  const usage = encodeExtension(oids.extKeyUsage, false, sequence(oid(oids.codeSigning)))
  const signer = await raw(issuer, { extensions: [...rawExtensions(issuer), usage] })
  expect(outcome(chainOf(signer, issuer.certificate), [root.certificate.der], signing)).toBe(
    'valid',
  )
})

test('A9 a CA certificate is no client certificate', () => {
  expect(againstRoot(issuer.certificate)).toBe('purpose')
  expect(againstRoot(root.certificate)).toBe('no-anchor')
})

test('A10 a leaf that signs a leaf', async () => {
  const key = softwareSigner(generatePrivateKey('P-256'))
  const ca = await rawCa(root, [unlimitedCa, certSign])
  const parent = await issue('device', ca, deviceInput(ca, key.spki))
  const asIssuer: Authority = { certificate: parent, signer: key }
  const child = await raw(asIssuer, {})
  expect(againstRoot(child, parent, ca.certificate)).toBe('not-a-ca')
  expect(againstRoot(parent, ca.certificate)).toBe('valid')
  expect(outcome(chainOf(child), [parent.der], client)).toBe('not-a-ca')
})

test('A10 a CA without keyCertSign, or without key usage, issues nothing', async () => {
  const signing = encodeExtension(oids.keyUsage, true, Buffer.from('03020780', 'hex'))
  for (const usage of [[signing], []]) {
    const ca = await rawCa(root, [unlimitedCa, ...usage])
    expect(againstRoot(await raw(ca, {}), ca.certificate)).toBe('not-a-ca')
  }
  const good = await rawCa(root, [unlimitedCa, certSign])
  expect(againstRoot(await raw(good, {}), good.certificate)).toBe('valid')
})

test('A11 a CA of the same name with another key', async () => {
  const impostor = await makeRoot('P-384')
  expect(impostor.certificate.subject).toEqual(root.certificate.subject)
  const below = await makeIssuer(impostor)
  const leaf = await issue('device', below, deviceInput(below, spki))
  expect(againstRoot(leaf, below.certificate)).toBe('signature')
  expect(againstRoot(leaf, below.certificate, impostor.certificate)).toBe('signature')
  const both = [root.certificate.der, impostor.certificate.der]
  expect(outcome(chainOf(leaf, below.certificate), both, client)).toBe('valid')
})

test('A12 the path length', async () => {
  const below = await rawCa(issuer, [unlimitedCa, certSign], 'Below')
  const leaf = await raw(below, {})
  expect(againstRoot(leaf, below.certificate, issuer.certificate)).toBe('path-length')
  const one = await rawCa(
    root,
    [
      encodeExtension(oids.basicConstraints, true, Buffer.from('30060101ff020101', 'hex')),
      certSign,
    ],
    'One',
  )
  const belowOne = await rawCa(one, [unlimitedCa, certSign], 'Below one')
  const good = await raw(belowOne, {})
  expect(againstRoot(good, belowOne.certificate, one.certificate)).toBe('valid')
  // A self-issued certificate, as in a key change, does not count.
  const renewed = await rawCa(belowOne, [unlimitedCa, certSign], 'Below one')
  const still = await raw(renewed, {})
  expect(againstRoot(still, renewed.certificate, belowOne.certificate, one.certificate)).toBe(
    'valid',
  )
})

test('A14 an unknown critical extension, in the leaf or in a CA', async () => {
  const unknown = (critical: boolean) => encodeExtension('1.2.3.4', critical, nullValue())
  const leaf = async (critical: boolean) =>
    await raw(issuer, { extensions: [...rawExtensions(issuer), unknown(critical)] })
  expect(againstRoot(await leaf(true), issuer.certificate)).toBe('critical-extension')
  expect(againstRoot(await leaf(false), issuer.certificate)).toBe('valid')
  const ca = await rawCa(root, [unlimitedCa, certSign, unknown(true)])
  expect(againstRoot(await raw(ca, {}), ca.certificate)).toBe('critical-extension')
})

test('the chain is in order, bounded and parsed strictly', async () => {
  const anchors = [root.certificate.der]
  expect(outcome([], anchors, client)).toBe('malformed')
  expect(outcome([Buffer.from('x')], anchors, client)).toBe('malformed')
  expect(outcome([Buffer.concat([device.der, Buffer.alloc(1)])], anchors, client)).toBe('malformed')
  expect(outcome(chainOf(device, issuer.certificate), [], client)).toBe('no-anchor')
  expect(outcome(chainOf(device), anchors, client)).toBe('no-anchor')
  const second = await makeIssuer(root, { subject: encodeName({ commonName: 'Second' }) })
  expect(againstRoot(device, second.certificate)).toBe('issuer-name')
  expect(againstRoot(...Array.from({ length: 11 }, () => device))).toBe('too-long')
})

test('an anchor has to be a valid CA itself', async () => {
  const chain = chainOf(device, issuer.certificate)
  const late = { at: daysFrom(now, 21 * 365), purpose: 'clientAuth' } as const
  expect(outcome(chain, [root.certificate.der], late)).toBe('expired')
  const pinned = outcome(chainOf(device), [device.der], client)
  expect(pinned).toBe('no-anchor')
})

test('an extended key usage in a CA limits what it issues', async () => {
  const usage = (purpose: string) =>
    encodeExtension(oids.extKeyUsage, false, sequence(oid(purpose)))
  const servers = await rawCa(root, [unlimitedCa, certSign, usage(oids.serverAuth)])
  expect(againstRoot(await raw(servers, {}), servers.certificate)).toBe('purpose')
  const clients = await rawCa(root, [unlimitedCa, certSign, usage(oids.clientAuth)])
  expect(againstRoot(await raw(clients, {}), clients.certificate)).toBe('valid')
})

test('a key that we refuse ends a path', async () => {
  const odd = Buffer.from(spki)
  odd[26] = 0x06
  const leaf = await raw(issuer, { spki: odd })
  expect(againstRoot(leaf, issuer.certificate)).toBe('malformed')
  expect(againstRoot(await raw(issuer, { spki }), issuer.certificate)).toBe('valid')
})

test('a new root certificate with the same key and name is the same anchor', async () => {
  const tbs = buildTbs('root', {
    ...issuedBy(root),
    issuer: undefined,
    serial: newSerial(),
    subject: root.certificate.subject,
    spki: root.signer.spki,
    notBefore: now,
    notAfter: daysFrom(now, 1000),
  })
  const renewed = parseCertificate(await signCertificate(tbs, root.signer))
  expect(
    outcome(chainOf(device, issuer.certificate, root.certificate), [renewed.der], client),
  ).toBe('valid')
})

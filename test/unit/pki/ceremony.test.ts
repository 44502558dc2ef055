import { beforeAll, expect, test } from 'vitest'

import { answerCaRequest, readCaAnswer, writeCaAnswer } from '../../../pki/ceremony/ca-answer.ts'
import type { CaRequest, CaRequestInput } from '../../../pki/ceremony/ca-request.ts'
import { readCaRequest, writeCaRequest } from '../../../pki/ceremony/ca-request.ts'
import { buildSignedCsr } from '../../../pki/csr/build.ts'
import { oids } from '../../../pki/der/oids.ts'
import type { KeyAlgorithm } from '../../../pki/keys.ts'
import { generatePrivateKey, spkiOf } from '../../../pki/keys.ts'
import { encodeName } from '../../../pki/names.ts'
import { validatePath } from '../../../pki/path-validate.ts'
import { toPem } from '../../../pki/pem.ts'
import type { Signer } from '../../../pki/signer.ts'
import { softwareSigner } from '../../../pki/signer.ts'
import {
  encodeAuthorityInfoAccess,
  encodeExtension,
  encodeSubjectAltName,
} from '../../../pki/x509/extension-writer.ts'
import { newSerial, signCertificate } from '../../../pki/x509/issue.ts'
import { parseCertificate } from '../../../pki/x509/parse.ts'
import { buildTbs } from '../../../pki/x509/profiles.ts'
import { crossCertify, keyUpdateOf } from '../../../pki/x509/rollover.ts'
import type { Authority } from '../../support/pki-fixture.ts'
import {
  aiaUrl,
  crlUrl,
  daysFrom,
  deviceInput,
  expectRefusal,
  issue,
  makeIssuer,
  makeRoot,
  now,
} from '../../support/pki-fixture.ts'

const subject = encodeName({ organization: 'Test', commonName: 'Test Devices 2' })
const times = { notBefore: now, notAfter: daysFrom(now, 5 * 365) }
let root: Authority
let signer: Signer

beforeAll(async () => {
  root = await makeRoot()
  signer = softwareSigner(generatePrivateKey('P-256'))
})

async function requested(input: Partial<CaRequestInput> = {}): Promise<CaRequest> {
  return readCaRequest(await writeCaRequest(signer, { subject, ...input }))
}

test.each<[name: string, input: Partial<CaRequestInput>]>([
  ['with nothing', {}],
  ['with addresses', { crlUrl, aiaUrl }],
  ['for one tenant', { crlUrl, permittedNames: [encodeName({ organization: 'Test' })] }],
])('a CA %s: request, answer, and it issues', async (_, input) => {
  const request = await requested(input)
  expect(request).toMatchObject({ subject, ...input })
  const issued = await answerCaRequest(request, root, times)
  const read = readCaAnswer(writeCaAnswer(issued, root.certificate), request, root.certificate)
  expect(read.der).toEqual(issued.der)
  const authority = { certificate: read, signer }
  const device = await issue(
    'device',
    authority,
    deviceInput(authority, spkiOf(generatePrivateKey('P-256'))),
  )
  const chain = [device.der, read.der]
  const options = { at: now, purpose: 'clientAuth' } as const
  expect(validatePath(chain, [root.certificate.der], options).valid).toBe(true)
})

test.each<[root: KeyAlgorithm, ca: KeyAlgorithm]>([
  ['ML-DSA-87', 'ML-DSA-65'],
  ['P-384', 'ML-DSA-65'],
  ['P-384', 'RSA-2048'],
])('C1 a %s root answers a %s request', async (rootAlgorithm, algorithm) => {
  const by = await makeRoot(rootAlgorithm)
  const own = softwareSigner(generatePrivateKey(algorithm))
  const request = readCaRequest(await writeCaRequest(own, { subject }))
  const issued = await answerCaRequest(request, by, times)
  const answer = writeCaAnswer(issued, by.certificate)
  expect(readCaAnswer(answer, request, by.certificate).spki).toEqual(own.spki)
})

const caConstraints = encodeExtension(
  oids.basicConstraints,
  true,
  Buffer.from('30060101ff020100', 'hex'),
)
const caUsage = encodeExtension(oids.keyUsage, true, Buffer.from('03020106', 'hex'))
const unlimited = encodeExtension(oids.basicConstraints, true, Buffer.from('30030101ff', 'hex'))
const wideUsage = encodeExtension(oids.keyUsage, true, Buffer.from('03020186', 'hex'))
const constrained = (hex: string) =>
  encodeExtension(oids.nameConstraints, true, Buffer.from(hex, 'hex'))

test.each<[name: string, extensions: Buffer[]]>([
  ['no extension', []],
  ['a CA without limit of its path', [unlimited, caUsage]],
  ['more usages', [caConstraints, wideUsage]],
  [
    'a name',
    [caConstraints, caUsage, encodeSubjectAltName([{ type: 'uri', value: 'a:b' }], false)],
  ],
  ['an OCSP responder', [caConstraints, caUsage, encodeAuthorityInfoAccess(aiaUrl, crlUrl)]],
  ['a DNS constraint', [caConstraints, caUsage, constrained('3007a0053003820161')]],
  ['an excluded name', [caConstraints, caUsage, constrained('3008a1063004a4023000')]],
])('C10 a request for %s is refused', async (_, extensions) => {
  const text = toPem('CERTIFICATE REQUEST', await buildSignedCsr(signer, subject, extensions))
  expectRefusal(() => readCaRequest(text), 'csr')
  const good = await buildSignedCsr(signer, subject, [caConstraints, caUsage])
  expect(readCaRequest(toPem('CERTIFICATE REQUEST', good)).subject).toEqual(subject)
})

test('a request file has one request, unchanged', async () => {
  const text = await writeCaRequest(signer, { subject })
  expectRefusal(() => readCaRequest(text + text), 'pem')
  expectRefusal(() => readCaRequest(''), 'pem')
  const der = Buffer.from(readCaRequest(text).csr.der)
  der[40] = (der[40] ?? 0) ^ 1
  expectRefusal(() => readCaRequest(toPem('CERTIFICATE REQUEST', der)), 'csr', 'der')
})

test('a root signs nothing that breaks the profile', async () => {
  const attempt = async (request: CaRequest, change: Partial<typeof times> = {}) =>
    await answerCaRequest(request, root, { ...times, ...change })
  const request = await requested()
  const tooLong = { notAfter: daysFrom(now, 11 * 366) }
  await expect(attempt(request, tooLong)).rejects.toMatchObject({ code: 'profile' })
  const longest = daysFrom(root.certificate.notAfter, 1)
  await expect(attempt(request, { notAfter: longest })).rejects.toMatchObject({ code: 'profile' })
  const same = await requested({ subject: root.certificate.subject })
  await expect(attempt(same)).rejects.toMatchObject({ code: 'profile' })
  const edwards = softwareSigner(generatePrivateKey('Ed25519'))
  const weak = readCaRequest(await writeCaRequest(edwards, { subject }))
  await expect(attempt(weak)).rejects.toMatchObject({ code: 'profile' })
  const stranger = { ...root, signer }
  await expect(answerCaRequest(request, stranger, times)).rejects.toMatchObject({ code: 'key' })
})

test('an answer is taken for its own request, from the pinned root only', async () => {
  const request = await requested({ crlUrl })
  const issued = await answerCaRequest(request, root, times)
  const answer = writeCaAnswer(issued, root.certificate)
  const other = await makeRoot()
  const refused = (text: string, to = request, by = root.certificate) =>
    expectRefusal(() => readCaAnswer(text, to, by), 'certificate', 'pem')
  refused(answer, request, other.certificate)
  refused(writeCaAnswer(issued, other.certificate), request, other.certificate)
  refused(answer, await requested())
  refused(answer, await requested({ crlUrl: aiaUrl }))
  refused(answer, await requested({ crlUrl, subject: encodeName({ commonName: 'Other' }) }))
  const own = softwareSigner(generatePrivateKey('P-256'))
  refused(answer, readCaRequest(await writeCaRequest(own, { subject, crlUrl })))
  refused(toPem('CERTIFICATE', issued.der))
  refused(answer + answer)
})

test('R8 a device follows from the old root to the new one and back', async () => {
  const next = await renewedRoot()
  const update = await keyUpdateOf(root, next)
  const options = { at: now, purpose: 'clientAuth' } as const
  for (const [own, other, bridge] of [
    [next, root, update.newWithOld],
    [root, next, update.oldWithNew],
  ] as const) {
    const issuer = await makeIssuer(own)
    const spki = spkiOf(generatePrivateKey('P-256'))
    const device = await issue('device', issuer, deviceInput(issuer, spki))
    const chain = [device.der, issuer.certificate.der]
    expect(validatePath(chain, [own.certificate.der], options).valid).toBe(true)
    expect(validatePath(chain, [other.certificate.der], options).valid).toBe(false)
    expect(validatePath([...chain, bridge], [other.certificate.der], options).valid).toBe(true)
  }
})

/** A new root that lives longer than the old one, of the same name or another. */
async function renewedRoot(commonName = 'Test Root'): Promise<Authority> {
  const own = softwareSigner(generatePrivateKey('P-384'))
  const tbs = buildTbs('root', {
    serial: newSerial(),
    subject: encodeName({ organization: 'Test', commonName }),
    spki: own.spki,
    notBefore: daysFrom(now, -1),
    notAfter: daysFrom(now, 24 * 365),
    signatureAlgorithm: own.algorithm,
  })
  return { signer: own, certificate: parseCertificate(await signCertificate(tbs, own)) }
}

test.each(['Test Root', 'Test Root 2'])('E23 the pair to a root named %s', async (name) => {
  const next = await renewedRoot(name)
  const update = await keyUpdateOf(root, next)
  const oldWithNew = parseCertificate(update.oldWithNew)
  const newWithOld = parseCertificate(update.newWithOld)
  expect(oldWithNew.subject).toEqual(root.certificate.subject)
  expect(oldWithNew.spki).toEqual(root.certificate.spki)
  expect(oldWithNew.subjectKeyId).toEqual(root.certificate.subjectKeyId)
  expect(oldWithNew.authorityKeyId).toEqual(next.certificate.subjectKeyId)
  expect(oldWithNew.issuer).toEqual(next.certificate.subject)
  expect(newWithOld.spki).toEqual(next.certificate.spki)
  expect(newWithOld.notAfter).toEqual(root.certificate.notAfter)
  expect(newWithOld.notBefore).toEqual(next.certificate.notBefore)
})

test('E23 the new root has to outlive the old one, and keys fit their certificates', async () => {
  const next = await renewedRoot()
  await expect(keyUpdateOf(next, root)).rejects.toMatchObject({ code: 'profile' })
  await expect(keyUpdateOf(root, root)).rejects.toMatchObject({ code: 'profile' })
  const mixed = { certificate: root.certificate, signer: next.signer }
  await expect(crossCertify(next.certificate, mixed)).rejects.toMatchObject({ code: 'key' })
})

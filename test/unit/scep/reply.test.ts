import { beforeAll, expect, test } from 'vitest'

import { readCertsOnly } from '../../../pki/cms/certs-only.ts'
import { verifySignedData } from '../../../pki/cms/signed-data.ts'
import { buildCrl, signCrl } from '../../../pki/crl/build.ts'
import { octetString, oid, printableString, sequence, setOf } from '../../../pki/der/writer.ts'
import { PkiError } from '../../../pki/errors.ts'
import { softwareDecrypter } from '../../../pki/forge.ts'
import { keyIdentifier } from '../../../pki/keys.ts'
import type { CertRepExpectations, ScepOutcome } from '../../../pki/scep/reply.ts'
import { buildCertRep, readCertRep, scepFailureOf } from '../../../pki/scep/reply.ts'
import type { ScepRequest } from '../../../pki/scep/request.ts'
import { openScepRequest, verifyScepMessage } from '../../../pki/scep/request.ts'
import {
  caCapabilities,
  caCertificates,
  decodeGetMessage,
  nextCaCertificates,
  readScepOperation,
} from '../../../pki/scep/wire.ts'
import { daysFrom, expectRefusal, makeRoot, now } from '../../support/pki-fixture.ts'
import type { ScepWorld } from '../../support/scep-fixture.ts'
import { makeScepWorld, scepTypes, senderNonce, transactionId } from '../../support/scep-fixture.ts'

let world: ScepWorld
let request: ScepRequest
let expected: CertRepExpectations

beforeAll(async () => {
  world = await makeScepWorld()
  const message = verifyScepMessage(await world.ask({ type: 'PKCSReq', csr: world.csr }))
  request = await openScepRequest(message, world.decrypter)
  expected = {
    transactionId,
    senderNonce,
    responderSpki: world.ra.spki,
    decrypter: softwareDecrypter(world.device.key, world.device.id),
    expects: 'certificates',
  }
})

async function answer(outcome: ScepOutcome): Promise<Buffer> {
  return await buildCertRep(request, outcome, world.ra)
}

test('a certificate, a delay and a refusal arrive as they were sent', async () => {
  const outcomes: ScepOutcome[] = [
    { status: 'success', certificates: [world.device.certificate] },
    { status: 'pending' },
    { status: 'failure', failure: 'badRequest' },
    { status: 'failure', failure: 'badCertId', text: 'Not the active certificate' },
  ]
  for (const outcome of outcomes) {
    expect(await readCertRep(await answer(outcome), expected)).toEqual(outcome)
  }
})

test('a CRL arrives', async () => {
  const root = await makeRoot()
  const tbs = buildCrl({
    issuerName: root.certificate.subject,
    issuerKeyId: keyIdentifier(root.signer.spki),
    signatureAlgorithm: root.signer.algorithm,
    number: 1n,
    thisUpdate: now,
    nextUpdate: daysFrom(now, 1),
    revoked: [],
  })
  const crl = await signCrl(tbs, root.signer)
  const der = await answer({ status: 'success', crl })
  const outcome = await readCertRep(der, { ...expected, expects: 'crl' })
  expect(outcome).toEqual({ status: 'success', crl })
  await expect(readCertRep(der, expected)).rejects.toThrow(PkiError)
})

test('S2 status, failInfo and both nonces are on the wire, and no content in a failure', async () => {
  const der = await answer({ status: 'failure', failure: 'badMessageCheck' })
  const values = {
    [scepTypes.messageType]: printableString('3'),
    [scepTypes.status]: printableString('2'),
    [scepTypes.failInfo]: printableString('1'),
    [scepTypes.recipientNonce]: octetString(senderNonce),
    [scepTypes.transactionId]: printableString(transactionId),
  }
  for (const [type, value] of Object.entries(values)) {
    expect(der.includes(sequence(oid(type), setOf(value)))).toBe(true)
  }
  expect(verifySignedData(der).content).toBeUndefined()
  expect(verifySignedData(der).attributes.has(scepTypes.senderNonce)).toBe(true)
})

test('S1 an answer to another transaction or nonce, or of another authority, is refused', async () => {
  const der = await answer({ status: 'pending' })
  expect(await readCertRep(der, expected)).toEqual({ status: 'pending' })
  const others: Partial<CertRepExpectations>[] = [
    { transactionId: 'other' },
    { senderNonce: Buffer.alloc(16) },
    { responderSpki: world.device.spki },
  ]
  for (const other of others) {
    await expect(readCertRep(der, { ...expected, ...other })).rejects.toThrow(PkiError)
  }
  // A request replayed to the client is no answer.
  const replayed = await world.ask({ type: 'PKCSReq', csr: world.csr }, world.ra)
  await expect(readCertRep(replayed, expected)).rejects.toThrow('Not an answer')
})

test('a request that did not open can be refused and nothing else', async () => {
  const unopened = verifyScepMessage(await world.ask({ type: 'PKCSReq', csr: world.csr }))
  const failure: ScepOutcome = { status: 'failure', failure: 'badMessageCheck' }
  expect(await readCertRep(await buildCertRep(unopened, failure, world.ra), expected)).toEqual(
    failure,
  )
  const success: ScepOutcome = { status: 'success', certificates: [world.device.certificate] }
  await expect(buildCertRep(unopened, success, world.ra)).rejects.toThrow(PkiError)
  expect(scepFailureOf(new PkiError('cms', ''))).toBe('badMessageCheck')
  expect(scepFailureOf(new PkiError('csr', ''))).toBe('badRequest')
})

test('S1 operations are on a list', () => {
  expect(readScepOperation('PKIOperation')).toBe('PKIOperation')
  for (const wrong of ['', 'pkioperation', 'GetCACaps ', 'toString', undefined]) {
    expectRefusal(() => readScepOperation(wrong), 'scep')
  }
})

test('capabilities never name what is off', () => {
  const words = (more: object = {}) =>
    caCapabilities({ hasNextCa: false, ...more })
      .body.toString()
      .trimEnd()
      .split('\n')
  const always = ['AES', 'POSTPKIOperation', 'Renewal', 'SHA-256', 'SHA-512', 'SCEPStandard']
  expect(words()).toEqual(always)
  expect(words({ hasNextCa: true })).toEqual([...always, 'GetNextCACert'])
  expect(words({ allowSha1: true, allowTripleDes: true })).toEqual([...always, 'SHA-1', 'DES3'])
})

test('one CA certificate is sent bare, a chain as a message, the next one signed', async () => {
  const { certificate } = world.ra
  expect(caCertificates([certificate])).toEqual({
    contentType: 'application/x-x509-ca-cert',
    body: certificate,
  })
  const chain = caCertificates([certificate, world.device.certificate])
  expect(chain.contentType).toBe('application/x-x509-ca-ra-cert')
  expect(readCertsOnly(chain.body)).toHaveLength(2)
  const { body } = await nextCaCertificates([world.device.certificate], world.ra)
  expect(verifySignedData(body).signerSpki).toEqual(world.ra.spki)
  expect(verifySignedData(body).certificates).toContainEqual(world.device.certificate)
})

test('C18 a message in a query', () => {
  const der = Buffer.from([0xfb, 0xef, 0xbe, 1])
  expect(decodeGetMessage('++++AQ==')).toEqual(der)
  expect(decodeGetMessage('    AQ==')).toEqual(der)
  expect(decodeGetMessage('++\r\n++AQ==\n')).toEqual(der)
  for (const wrong of ['', '++++AQ', '++++AR==', '-_-_AQ==', 'A'.repeat(24_580)]) {
    expectRefusal(() => decodeGetMessage(wrong), 'scep')
  }
})

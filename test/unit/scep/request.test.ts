import { constants, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto'

import { beforeAll, expect, test } from 'vitest'

import { certsOnly } from '../../../pki/cms/certs-only.ts'
import { buildEnvelopedData } from '../../../pki/cms/enveloped-data-build.ts'
import { buildCsr } from '../../../pki/csr/build.ts'
import {
  integer,
  octetString,
  oid,
  printableString,
  sequence,
  setOf,
  utf8String,
} from '../../../pki/der/writer.ts'
import { PkiError } from '../../../pki/errors.ts'
import { encodeName } from '../../../pki/names.ts'
import type { ScepQuestion } from '../../../pki/scep/request-build.ts'
import type { ScepRequest } from '../../../pki/scep/request.ts'
import { openScepRequest, verifyScepMessage } from '../../../pki/scep/request.ts'
import { makeParty, replaceOnce } from '../../support/cms-fixture.ts'
import { expectRefusal, makeRoot } from '../../support/pki-fixture.ts'
import type { ScepWorld } from '../../support/scep-fixture.ts'
import {
  makeScepWorld,
  scepAttributes,
  scepTypes,
  senderNonce,
  transactionId,
} from '../../support/scep-fixture.ts'

let world: ScepWorld
const name = encodeName({ commonName: 'Pump 7' })

beforeAll(async () => {
  world = await makeScepWorld()
})

async function read(der: Buffer): Promise<ScepRequest> {
  return await openScepRequest(verifyScepMessage(der), world.decrypter)
}

async function refusal(work: Promise<unknown>): Promise<PkiError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof PkiError)) throw new Error('Nothing was refused', { cause: error })
  return error
}

test('a first request and a renewal come through with what an answer needs', async () => {
  for (const type of ['PKCSReq', 'RenewalReq'] as const) {
    const request = await read(await world.ask({ type, csr: world.csr }))
    expect(request).toMatchObject({ type, transactionId, senderNonce, cipher: 'aes-128-cbc' })
    expect(request.signerCertificate).toEqual(world.device.certificate)
    expect('csr' in request && request.csr.der).toEqual(world.csr)
  }
})

test('polling and asking for certificates and CRLs', async () => {
  const serial = Buffer.from('00f1', 'hex')
  expect(
    await read(await world.ask({ type: 'CertPoll', issuer: name, subject: name })),
  ).toMatchObject({ type: 'CertPoll', issuer: name, subject: name })
  for (const type of ['GetCert', 'GetCRL'] as const) {
    const question: ScepQuestion = { type, issuer: name, serial }
    expect(await read(await world.ask(question))).toMatchObject(question)
  }
})

test.each(['3', '0', '17.', '18', '019', '1', '23', '27', '-19', ''])(
  'S1 message type "%s" is refused',
  async (type) => {
    const wrong = type === '-19' ? utf8String('19') : printableString(type)
    const der = await world.raw({ attributes: scepAttributes({ messageType: [wrong] }) })
    expectRefusal(() => verifyScepMessage(der), 'scep')
  },
)

test('S1 every type has its own content', async () => {
  const types = { 17: world.csr, 20: sequence(name, name), 21: sequence(name, integer(7)) }
  for (const [type, own] of Object.entries(types)) {
    const attributes = scepAttributes({ messageType: [printableString(type)] })
    for (const content of Object.values(types)) {
      const work = read(await world.raw({ attributes, content: world.envelope(content) }))
      if (content === own) await work
      else expect(['csr', 'der', 'cms', 'key']).toContain((await refusal(work)).code)
    }
  }
})

test.each<[string, Parameters<typeof scepAttributes>[0]]>([
  ['no message type', { messageType: null }],
  ['no transactionID', { transactionId: null }],
  ['no senderNonce', { senderNonce: null }],
  ['a short nonce', { senderNonce: [octetString(Buffer.alloc(15))] }],
  ['an empty transactionID', { transactionId: [printableString('')] }],
  ['a long transactionID', { transactionId: [printableString('a'.repeat(129))] }],
  ['an UTF8String', { transactionId: [utf8String(transactionId)] }],
  ['two values', { transactionId: [printableString('a'), printableString('b')] }],
  ['a nonce of another type', { senderNonce: [printableString('1'.repeat(16))] }],
])('S1 attributes: %s', async (_, replaced) => {
  const der = await world.raw({ attributes: scepAttributes(replaced) })
  expectRefusal(() => verifyScepMessage(der), 'scep', 'cms', 'der')
})

test('S2 attribute values are on the wire', async () => {
  const der = await world.ask({ type: 'PKCSReq', csr: world.csr })
  const values = {
    [scepTypes.messageType]: printableString('19'),
    [scepTypes.transactionId]: printableString(transactionId),
    [scepTypes.senderNonce]: octetString(senderNonce),
  }
  for (const [type, value] of Object.entries(values)) {
    expect(der.includes(sequence(oid(type), setOf(value)))).toBe(true)
  }
})

test('S2 no signer, a wrong digest, a changed attribute, another key', async () => {
  expectRefusal(() => verifyScepMessage(certsOnly([world.device.certificate])), 'cms')
  const der = await world.ask({ type: 'PKCSReq', csr: world.csr })
  const { envelope } = verifyScepMessage(der)
  const changed = Buffer.from(envelope)
  changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1
  expectRefusal(() => verifyScepMessage(replaceOnce(der, envelope, changed)), 'cms')

  const renewal = [printableString('19'), printableString('17')] as const
  expectRefusal(() => verifyScepMessage(replaceOnce(der, ...renewal)), 'cms')

  const signedByRa = { ...world.ra, id: world.device.id, certificate: world.device.certificate }
  const forged = await world.raw({ sender: signedByRa })
  expectRefusal(() => verifyScepMessage(forged), 'cms')
})

test('S2 the signer of a first request holds the key it is for; of a renewal he need not', async () => {
  const csr = buildCsr(world.ra.key, { subject: name })
  const work = read(await world.ask({ type: 'PKCSReq', csr }))
  expect((await refusal(work)).code).toBe('scep')
  expect(await read(await world.ask({ type: 'RenewalReq', csr }))).toMatchObject({
    type: 'RenewalReq',
  })
})

test('S2 an EC signer, or one whose certificate is missing, cannot be answered', async () => {
  const party = await makeParty(await makeRoot(), 'P-256')
  const byEc = await world.raw({ sender: party })
  expectRefusal(() => verifyScepMessage(byEc), 'scep')
  const without = await world.raw({
    sender: { ...world.device, certificate: world.ra.certificate },
  })
  expectRefusal(() => verifyScepMessage(without), 'cms')
})

/** The envelope of the request with another RSA ciphertext in it. */
function withEncryptedKey(key: Buffer | 'garbage'): Buffer {
  const padding = constants.RSA_PKCS1_PADDING
  const publicKey = createPublicKey(world.ra.key)
  const encrypted =
    key === 'garbage'
      ? Buffer.concat([Buffer.alloc(1), randomBytes(255)])
      : publicEncrypt({ key: publicKey, padding }, key)
  const envelope = world.envelope(world.csr)
  const at = envelope.indexOf(Buffer.from('04820100', 'hex')) + 4
  return Buffer.concat([envelope.subarray(0, at), encrypted, envelope.subarray(at + 256)])
}

test('S3 whatever is wrong with the envelope, the answer is the same', async () => {
  const { ra, csr } = world
  const recipient = { kind: 'certificate', id: ra.id } as const
  const envelopes = {
    'another key': buildEnvelopedData(csr, { ...recipient, spki: world.device.spki }),
    'a content key of another length': withEncryptedKey(Buffer.alloc(24, 1)),
    'no key at all': withEncryptedKey(Buffer.alloc(0)),
    'another content key': withEncryptedKey(Buffer.alloc(16, 1)),
    'a wrong padding': withEncryptedKey('garbage'),
    'a cipher that is not allowed': buildEnvelopedData(
      csr,
      { ...recipient, spki: ra.spki },
      { cipher: 'des-ede3-cbc' },
    ),
    'content that is not DER': world.envelope(Buffer.from('hello')),
  }
  for (const [what, content] of Object.entries(envelopes)) {
    const error = await refusal(read(await world.raw({ content })))
    expect(`${what}: ${error.code} ${error.message}`).toBe(
      `${what}: cms The envelope does not open`,
    )
  }
  // The honest twin.
  expect(await read(await world.raw({}))).toMatchObject({ type: 'PKCSReq' })
})

import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { buildEnvelopedData } from '../../pki/cms/enveloped-data-build.ts'
import { openEnvelopedData } from '../../pki/cms/enveloped-data.ts'
import { buildSignedData } from '../../pki/cms/signed-data-build.ts'
import { verifySignedData } from '../../pki/cms/signed-data.ts'
import { buildCsr } from '../../pki/csr/build.ts'
import { berToDer } from '../../pki/der/ber.ts'
import { octetString, printableString, sequence } from '../../pki/der/writer.ts'
import { sealGeneratedKey } from '../../pki/est/server-key.ts'
import { openRsaEnvelope, softwareDecrypter } from '../../pki/forge.ts'
import type { KeyAlgorithm } from '../../pki/keys.ts'
import { generatePrivateKey, keyIdentifier } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { toPem } from '../../pki/pem.ts'
import { verifyScepMessage } from '../../pki/scep/request.ts'
import type { Party } from '../support/cms-fixture.ts'
import { makeParty, privatePem } from '../support/cms-fixture.ts'
import { openssl, opensslAccepts, opensslVersion, scratchDirectory } from '../support/openssl.ts'
import type { Authority } from '../support/pki-fixture.ts'
import { expectRefusal, makeRoot, now } from '../support/pki-fixture.ts'

const title = opensslVersion ?? 'openssl is missing on this machine'
const hasMlDsa = Number(opensslVersion?.match(/^OpenSSL (\d+\.\d+)/)?.[1] ?? 0) >= 3.5
const judge = test.skipIf(!opensslVersion)
const files = scratchDirectory()
const content = Buffer.from('a request')
/** DER, as everything that travels in an RSA envelope. */
const element = octetString(content)
const messageType = '2.16.840.1.113733.1.9.2'
let root: Authority

test(`the judge is ${title}`, ({ skip }) => {
  if (!opensslVersion) skip(title)
})
beforeAll(async () => {
  root = await makeRoot()
})
afterAll(() => files[Symbol.dispose]())

async function partyFiles(algorithm: KeyAlgorithm): Promise<Party & { cert: string; pem: string }> {
  const party = await makeParty(root, algorithm)
  const cert = files.write('party.pem', toPem('CERTIFICATE', party.certificate))
  return { ...party, cert, pem: files.write('party.key', privatePem(party.key)) }
}

const signing: KeyAlgorithm[] = ['P-256', 'P-384', 'RSA-2048', 'RSA-3072']
if (hasMlDsa) signing.push('ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87')

judge.each(signing)('D1 openssl verifies what a %s key signs, and nothing else', async (name) => {
  const party = await partyFiles(name)
  const input = {
    content,
    signerId: party.id,
    certificates: [party.certificate],
    signingTime: now,
    attributes: [{ type: messageType, values: [printableString('19')] }],
  }
  const der = await buildSignedData(input, party.signer)
  const message = files.write('signed.der', der)
  const args = ['cms', '-verify', '-inform', 'DER', '-noverify', '-binary', '-in']
  expect(openssl(...args, message).toString()).toBe('a request')
  expect(
    openssl('cms', '-cmsout', '-print', '-inform', 'DER', '-in', message).toString(),
  ).toContain('PRINTABLESTRING:19')
  const changed = Buffer.from(der)
  const at = der.indexOf(content)
  changed[at] = (changed[at] ?? 0) ^ 1
  expect(opensslAccepts(...args, files.write('changed.der', changed))).toBe(false)
})

judge.each(signing.filter((name) => !name.startsWith('ML-DSA')))(
  'D1 what openssl signs with a %s key verifies',
  async (name) => {
    const party = await partyFiles(name)
    const input = files.write('content', content)
    const out = join(files.path, 'openssl.der')
    const sign = ['cms', '-sign', '-binary', '-nodetach', '-in', input, '-outform', 'DER']
    const more = ['-signer', party.cert, '-inkey', party.pem, '-out', out]
    openssl(...sign, ...more)
    const verified = verifySignedData(readFileSync(out))
    expect(verified.content).toEqual(content)
    expect(verified.signerCertificate).toEqual(party.certificate)

    openssl(...sign, '-keyid', '-nocerts', '-md', 'sha512', ...more)
    const byKey = readFileSync(out)
    expect(verifySignedData(byKey, { signerSpki: party.spki }).digest).toBe('sha512')
    expectRefusal(() => verifySignedData(byKey), 'cms')

    if (name !== 'RSA-2048') return
    openssl(...sign, '-md', 'sha1', ...more)
    expectRefusal(() => verifySignedData(readFileSync(out)), 'cms')
    expect(verifySignedData(readFileSync(out), { allowSha1: true }).digest).toBe('sha1')
    openssl(...sign, '-noattr', ...more)
    expectRefusal(() => verifySignedData(readFileSync(out)), 'der', 'cms')
  },
)

judge.each<KeyAlgorithm>(['P-256', 'P-384', 'RSA-2048'])(
  'E17 openssl opens an envelope to a %s key',
  async (name) => {
    const party = await partyFiles(name)
    for (const cipher of ['aes-128-cbc', 'aes-256-cbc'] as const) {
      const recipient = { kind: 'certificate', id: party.id, spki: party.spki } as const
      const der = buildEnvelopedData(content, recipient, { cipher })
      const decrypt = ['cms', '-decrypt', '-binary', '-inform', 'DER', '-recip', party.cert]
      const message = files.write('enveloped.der', der)
      expect(openssl(...decrypt, '-inkey', party.pem, '-in', message)).toEqual(content)
    }
  },
)

judge.each<KeyAlgorithm>(['P-256', 'P-384'])(
  'E17 an envelope of openssl to a %s key opens',
  async (name) => {
    const party = await partyFiles(name)
    const input = files.write('content', content)
    const out = join(files.path, 'enveloped.der')
    const encrypt = ['cms', '-encrypt', '-binary', '-aes256', '-in', input, '-outform', 'DER']
    const agreement = ['-recip', party.cert, '-keyopt', 'ecdh_kdf_md:sha256', '-aes256-wrap']
    openssl(...encrypt, ...agreement, '-out', out)
    const opener = { kind: 'private-key', id: party.id, key: party.key } as const
    expect(openEnvelopedData(readFileSync(out), opener).content).toEqual(content)
    openssl(...encrypt, '-keyid', ...agreement, '-out', out)
    expectRefusal(() => openEnvelopedData(readFileSync(out), opener), 'cms')
    const id = { kind: 'key-id', keyId: keyIdentifier(party.spki) } as const
    expect(openEnvelopedData(readFileSync(out), { ...opener, id }).content).toEqual(content)
    // SHA-1 in the key derivation, openssl's default.
    openssl(...encrypt, '-recip', party.cert, '-out', out)
    expectRefusal(() => openEnvelopedData(readFileSync(out), opener), 'cms')
  },
)

judge('E17 an envelope under a shared key, both ways', () => {
  const key = Buffer.alloc(32, 0x5a)
  const keyId = Buffer.from('line 7')
  const secret = ['-secretkey', key.toString('hex'), '-secretkeyid', keyId.toString('hex')]
  const message = files.write(
    'kek.der',
    buildEnvelopedData(content, { kind: 'shared-key', keyId, key }),
  )
  const decrypt = ['cms', '-decrypt', '-binary', '-inform', 'DER', '-in', message]
  expect(openssl(...decrypt, ...secret)).toEqual(content)
  const out = join(files.path, 'kek-openssl.der')
  const input = files.write('content', content)
  openssl(
    'cms',
    '-encrypt',
    '-aes256',
    '-binary',
    '-in',
    input,
    '-outform',
    'DER',
    '-out',
    out,
    ...secret,
  )
  const opened = openEnvelopedData(readFileSync(out), { kind: 'shared-key', keyId, key })
  expect(opened.content).toEqual(content)
})

judge.each([
  ['-aes128', 'aes-128-cbc'],
  ['-aes256', 'aes-256-cbc'],
  ['-des3', 'des-ede3-cbc'],
])('an envelope of openssl to an RSA key opens: %s', async (option, cipher) => {
  const party = await partyFiles('RSA-2048')
  const input = files.write('content', element)
  const out = join(files.path, 'rsa.der')
  openssl(
    'cms',
    '-encrypt',
    option,
    '-binary',
    '-in',
    input,
    '-outform',
    'DER',
    '-out',
    out,
    party.cert,
  )
  const decrypter = softwareDecrypter(party.key, party.id)
  const opened = openRsaEnvelope(readFileSync(out), decrypter, { allowTripleDes: true })
  expect(await opened).toEqual({ content: element, cipher })
})

judge.each<KeyAlgorithm>(['P-256', 'RSA-2048'])(
  'E17 openssl opens a generated key that is sealed to a %s key',
  async (name) => {
    const party = await partyFiles(name)
    const pkcs8 = generatePrivateKey('P-256').export({ type: 'pkcs8', format: 'der' })
    const generator = await makeParty(root, 'P-256')
    const recipient = { kind: 'certificate', id: party.id, spki: party.spki } as const
    const sealed = files.write('sealed.der', await sealGeneratedKey(pkcs8, generator, recipient))
    const decrypt = ['cms', '-decrypt', '-binary', '-inform', 'DER', '-in', sealed]
    const signed = openssl(...decrypt, '-recip', party.cert, '-inkey', party.pem)
    const file = files.write('package.der', signed)
    const verify = ['cms', '-verify', '-noverify', '-binary', '-inform', 'DER', '-in', file]
    expect(openssl(...verify)).toEqual(sequence(pkcs8))
  },
)

judge('a request that openssl wrote in BER is read where BER is allowed', async () => {
  const ra = await makeParty(root, 'RSA-2048')
  const raFile = files.write('ra.pem', toPem('CERTIFICATE', ra.certificate))
  const device = await partyFiles('RSA-2048')
  const input = files.write(
    'content',
    buildCsr(device.key, { subject: encodeName({ commonName: 'Pump' }) }),
  )
  const envelope = join(files.path, 'ber-envelope.der')
  const out = join(files.path, 'ber.der')
  const stream = ['-binary', '-stream', '-indef', '-outform', 'DER']
  openssl('cms', '-encrypt', ...stream, '-aes128', '-in', input, '-out', envelope, raFile)
  const sign = ['cms', '-sign', '-nodetach', ...stream, '-in', envelope, '-out', out]
  openssl(...sign, '-signer', device.cert, '-inkey', device.pem)
  const ber = readFileSync(out)
  expectRefusal(() => verifySignedData(ber), 'der')
  const { content: inner = ber } = verifySignedData(berToDer(ber, ber.length))
  const decrypter = softwareDecrypter(ra.key, ra.id)
  await expect(openRsaEnvelope(inner, decrypter)).rejects.toMatchObject({ code: 'der' })
  const opened = await openRsaEnvelope(berToDer(inner, inner.length), decrypter)
  expect(opened.content).toEqual(readFileSync(input))
  // Without SCEP's attributes it is no request, but it gets that far.
  const error = expectRefusal(() => verifyScepMessage(ber, { allowBer: true }), 'scep')
  expect(error.message).toContain('message type')
})

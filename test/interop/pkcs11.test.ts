import { createPublicKey, verify } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { keyIdOf } from '../../cli/ceremony/key-id.ts'
import { createOperator } from '../../demo/fleetseal.ts'
import { writeCaRequest } from '../../pki/ceremony/ca-request.ts'
import { parseCrl, verifyCrl } from '../../pki/crl/parse.ts'
import { readPublicKey } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { fromPem } from '../../pki/pem.ts'
import {
  destroyPkcs11Key,
  makePkcs11Key,
  openPkcs11Key,
  type Pkcs11Access,
  pkcs11SignerFor,
  tokenAlgorithms,
} from '../../pki/pkcs11.ts'
import { verifySignature } from '../../pki/signer.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { makeToken, noToken, type SoftToken, tokenPin } from '../support/softhsm.ts'

const judge = test.skipIf(noToken !== undefined)
let token: SoftToken

beforeAll(() => {
  if (noToken === undefined) token = makeToken()
})
afterAll(() => token?.[Symbol.dispose]())

test('there is a token to test with', ({ skip }) => {
  if (noToken !== undefined) skip(noToken)
})

function access(object: string, pin = tokenPin): Pkcs11Access {
  return { uri: token.uri(object), modulePath: token.modulePath, pin: () => pin }
}

judge.each(tokenAlgorithms)(
  'K4 a %s key is made in the token and signs there',
  async (algorithm) => {
    const made = await makePkcs11Key(access(`key-${algorithm}`), algorithm)
    const bytes = Buffer.from('to be signed')
    const signature = await made.sign(bytes)
    const digest = { 'P-256': 'sha256', 'P-384': 'sha384', Ed25519: null }
    const key = createPublicKey({ key: made.spki, format: 'der', type: 'spki' })
    const hash = algorithm.startsWith('RSA') ? 'sha256' : digest[algorithm as keyof typeof digest]
    expect(verify(hash, bytes, key, signature)).toBe(true)
    expect(verify(hash, Buffer.from('something else'), key, signature)).toBe(false)
    expect(readPublicKey(made.spki).algorithm).toBe(algorithm)

    // The same again is the same key, opened or asked for.
    const again = await makePkcs11Key(access(`key-${algorithm}`), algorithm)
    const opened = await openPkcs11Key(access(`key-${algorithm}`))
    expect(again.spki.equals(made.spki) && opened.spki.equals(made.spki)).toBe(true)
  },
)

judge('many signatures at a time are all right', async () => {
  const signer = await makePkcs11Key(access('busy'), 'P-256')
  const all = Array.from({ length: 60 }, (_, index) => Buffer.from(`message ${index}`))
  const signatures = await Promise.all(all.map((bytes) => signer.sign(bytes)))
  const good = signatures.filter((signature, index) =>
    verifySignature(signer.algorithm, signer.spki, all[index] ?? Buffer.alloc(0), signature),
  )
  expect(good).toHaveLength(60)
})

judge('a key of another kind, or none, is refused', async () => {
  await makePkcs11Key(access('one'), 'P-256')
  await expect(makePkcs11Key(access('one'), 'P-384')).rejects.toThrow(/is P-256, not P-384/)
  await expect(openPkcs11Key(access('nothing'))).rejects.toThrow(/no such key/)
  const other = { ...access('one'), uri: 'pkcs11:token=another;object=one' }
  await expect(openPkcs11Key(other)).rejects.toThrow(/no token another: is it plugged in/)
})

judge(
  'K4 a root whose key is in the token makes itself, signs an authority and its list',
  async () => {
    const base = mkdtempSync(join(tmpdir(), 'fleetseal-token-root-'))
    const { fleetseal } = createOperator({}, () => {})
    const dir = join(base, 'root')
    const at = ['--dir', dir, '--passphrase-file', token.pinFile]
    const uri = `${token.uri('root')}?module-path=${token.modulePath}`
    try {
      await fleetseal('ceremony', 'init', 'Token Root', '--key', uri, ...at)
      expect(readdirSync(dir).toSorted()).toEqual(['ceremony.log', 'root-key.uri', 'root.pem'])
      const signer = await makePkcs11Key(access('issuer'), 'P-256')
      const request = join(base, 'request.pem')
      const subject = encodeName({ commonName: 'Issuer in a token' })
      writeFileSync(request, await writeCaRequest(signer, { subject }))
      await fleetseal('ceremony', 'sign', request, '--confirm', keyIdOf(signer.spki), ...at)
      const [issuer, root] = fromPem(readFileSync(`${request}.answer.pem`, 'utf8'), 'CERTIFICATE')
      const rootCertificate = parseCertificate(root ?? Buffer.alloc(0))
      expect(readPublicKey(rootCertificate.spki).algorithm).toBe('P-384')
      const out = join(base, 'root.crl.pem')
      await fleetseal('ceremony', 'crl', '--out', out, ...at)
      const [crl] = fromPem(readFileSync(out, 'utf8'), 'X509 CRL')
      expect(verifyCrl(parseCrl(crl ?? Buffer.alloc(0)), rootCertificate)).toBe(true)
      const { tbs, signature, signatureAlgorithm } = parseCertificate(issuer ?? Buffer.alloc(0))
      expect(verifySignature(signatureAlgorithm, rootCertificate.spki, tbs, signature)).toBe(true)
      await expect(
        fleetseal(
          'ceremony',
          'init',
          'X',
          '--key',
          uri,
          '--algorithm',
          'ML-DSA-87',
          '--dir',
          `${dir}2`,
        ),
      ).rejects.toThrow(/cannot be made in a token/)
    } finally {
      rmSync(base, { recursive: true, force: true })
    }
  },
)

judge('a token that is pulled out is missed, and used again when it is back', async () => {
  const signer = await makePkcs11Key(access('travels'), 'P-256')
  token.unplug()
  try {
    await expect(signer.sign(Buffer.from('x'))).rejects.toMatchObject({ code: 'token' })
    await expect(openPkcs11Key(access('travels'))).rejects.toMatchObject({ code: 'token' })
  } finally {
    token.plug()
  }
  await expect
    .poll(async () => await signer.sign(Buffer.from('x')).catch(String), { timeout: 30_000 })
    .toBeInstanceOf(Buffer)
})

judge('a key that was exchanged in the token gives out no signature', async () => {
  const first = await makePkcs11Key(access('swapped'), 'P-256')
  const signer = pkcs11SignerFor(first.spki, access('swapped'))
  await expect(signer.sign(Buffer.from('x'))).resolves.toBeInstanceOf(Buffer)
  await destroyPkcs11Key(first.spki, access('swapped'))
  await expect(signer.sign(Buffer.from('x'))).rejects.toMatchObject({ code: 'token' })
  const second = await makePkcs11Key(access('swapped'), 'P-256')
  await expect(signer.sign(Buffer.from('x'))).rejects.toThrow(/not of the key it should have/)
  // The end of the first one is asked for again: it is not there, and the one in its place is another's.
  await destroyPkcs11Key(first.spki, access('swapped'))
  await expect(second.sign(Buffer.from('x'))).resolves.toBeInstanceOf(Buffer)
  await destroyPkcs11Key(second.spki, access('swapped'))
  await destroyPkcs11Key(second.spki, access('swapped'))
  await expect(openPkcs11Key(access('swapped'))).rejects.toThrow(/no such key/)
})

import { generateKeyPairSync, sign, verify } from 'node:crypto'

import { expect, test } from 'vitest'

import { ecdsaDer } from '../../../pki/ecdsa-der.ts'
import { parsePkcs11Uri } from '../../../pki/pkcs11-uri.ts'
import {
  destroyPkcs11Key,
  makePkcs11Key,
  openPkcs11Key,
  pkcs11SignerFor,
} from '../../../pki/pkcs11.ts'
import { FakeToken } from '../../support/fake-token.ts'

const bytes = Buffer.from('to be signed')

test('the URI of a key is read as RFC 7512 has it', () => {
  expect(
    parsePkcs11Uri(
      'pkcs11:token=Fleet%20one;object=devices;type=private?module-path=/usr/lib/x.so',
    ),
  ).toEqual({ token: 'Fleet one', object: 'devices', modulePath: '/usr/lib/x.so' })
  expect(parsePkcs11Uri('pkcs11:serial=ab12;id=%00%01%ff'.replace('%00', '%02'))).toEqual({
    serial: 'ab12',
    id: Buffer.from([2, 1, 255]),
  })
})

test.each([
  ['http://token', /begins with/],
  [`pkcs11:token=${'a'.repeat(2000)};object=x`, /short/],
  ['pkcs11:object=x', /names a token/],
  ['pkcs11:token=x', /names a key/],
  ['pkcs11:token=x;token=y;object=z', /each attribute once/],
  ['pkcs11:token=x;object=y;slot-id=1', /nothing else/],
  ['pkcs11:token=x;object=y?pin-value=1234', /never holds a PIN/],
  ['pkcs11:token=x;object=y?pin-source=/etc/passwd', /never holds a PIN/],
  ['pkcs11:token=x;object=y?module-path=lib.so', /absolute/],
  ['pkcs11:token=x;object=y?module-path=/a?module-path=/b', /one "\?"/],
  ['pkcs11:token=x;object=y;type=public', /private key/],
  ['pkcs11:token=x;object=', /a value for object/],
  ['pkcs11:token=x;object=a%0', /%XX/],
  ['pkcs11:token=x;object=a%00b', /NUL/],
  ['pkcs11:token=x;object=ü', /%XX/],
])('%s is refused', (uri, why) => {
  expect(() => parsePkcs11Uri(uri)).toThrow(why)
})

test('the halves of a signature become DER, also when they begin with zeros or a high bit', () => {
  const raw = (r: string, s: string) =>
    Buffer.from(r.padStart(64, '0') + s.padStart(64, '0'), 'hex')
  expect(ecdsaDer(raw('01', '80')).toString('hex')).toBe('300702010102020080')
  expect(ecdsaDer(raw('00ff', '7f')).toString('hex')).toBe('3007020200ff02017f')
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const halves = sign('sha384', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  expect(verify('sha384', bytes, publicKey, ecdsaDer(halves))).toBe(true)
})

test('a token that signs wrongly gives nothing out, a right one does', async () => {
  const fake = new FakeToken()
  const signer = await makePkcs11Key(fake.access(), 'Ed25519')
  await expect(signer.sign(bytes)).resolves.toBeInstanceOf(Buffer)
  fake.isFaulty = true
  await expect(signer.sign(bytes)).rejects.toThrow(/not of the key it should have/)
})

test('a key is destroyed by its public half: the one that got its label since stays', async () => {
  const fake = new FakeToken()
  await destroyPkcs11Key(new FakeToken().spki, fake.access())
  expect(fake.destroyed).toBe(0)
  await destroyPkcs11Key(fake.spki, fake.access())
  expect(fake.destroyed).toBe(2)
})

test('a wrong PIN is said to the token once, not until it locks', async () => {
  const fake = new FakeToken()
  let pin = 'wrong'
  const signer = pkcs11SignerFor(fake.spki, { ...fake.access(), pin: () => pin })
  for (let index = 0; index < 5; index++) {
    await expect(signer.sign(bytes)).rejects.toThrow(/refused the PIN/)
    fake.passTime()
  }
  expect(fake.logins).toEqual(['wrong'])
  pin = fake.pin
  fake.passTime()
  await expect(signer.sign(bytes)).resolves.toBeInstanceOf(Buffer)
  expect(fake.logins).toEqual(['wrong', fake.pin])
})

test('a token that is away is missed in words, and found again', async () => {
  const fake = new FakeToken()
  const signer = await openPkcs11Key(fake.access())
  await expect(signer.sign(bytes)).resolves.toBeInstanceOf(Buffer)
  fake.isAway = true
  await expect(signer.sign(bytes)).rejects.toThrow(/no token fleet: is it plugged in/)
  fake.isAway = false
  fake.passTime()
  await expect(signer.sign(bytes)).resolves.toBeInstanceOf(Buffer)
})

test('at most eight sessions are open, however many wait', async () => {
  const fake = new FakeToken()
  const signer = await openPkcs11Key(fake.access())
  await Promise.all(Array.from({ length: 100 }, () => signer.sign(bytes)))
  expect(fake.mostOpen).toBeLessThanOrEqual(8)
  // One line and no more than it holds.
  const waiting = Array.from({ length: 2_100 }, () => signer.sign(bytes).then(() => 'ok', String))
  const outcomes = new Set(await Promise.all(waiting))
  expect([...outcomes].toSorted()).toEqual([
    'PkiError: Too many operations wait for the token: try again',
    'ok',
  ])
})

test('what the library says is named by its number only', async () => {
  const fake = new FakeToken()
  const signer = await openPkcs11Key(fake.access())
  fake.failure = 'CKR_FUNCTION_FAILED:6\nwith the secret 1234'
  const failed: unknown = await signer.sign(bytes).catch((error: unknown) => error)
  expect(failed).toMatchObject({ message: 'The token refuses: CKR_FUNCTION_FAILED' })
})

test('without the package the command to install it is named', async () => {
  const { loadLibrary, installCommand } = await import('../../../pki/pkcs11-binding.ts')
  const failed: unknown = await loadLibrary('/nowhere/lib.so').catch((error: unknown) => error)
  expect(failed).toMatchObject({ code: 'token' })
  // Where it is installed, the library is what is missing.
  expect((failed as Error).message).toMatch(
    new RegExp(`${installCommand}|/nowhere/lib.so is no PKCS #11 library`),
  )
})

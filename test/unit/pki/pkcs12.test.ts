import forge from 'node-forge'
import { beforeAll, expect, test } from 'vitest'

import { spkiOf } from '../../../pki/keys.ts'
import { buildPkcs12 } from '../../../pki/pkcs12/build.ts'
import type { Party } from '../../support/cms-fixture.ts'
import { makeParty } from '../../support/cms-fixture.ts'
import type { Authority } from '../../support/pki-fixture.ts'
import { makeRoot } from '../../support/pki-fixture.ts'

let root: Authority
let party: Party
const passphrase = 'kettle-Harbor-47'

beforeAll(async () => {
  root = await makeRoot('P-256')
  party = await makeParty(root, 'RSA-2048')
})

function input(more: object = {}) {
  const { key: privateKey, certificate } = party
  return { privateKey, certificate, passphrase, ...more }
}

test('node-forge reads the key and the certificate back', async () => {
  const pfx = await buildPkcs12(input({ friendlyName: 'Pump 7' }))
  const tree = forge.asn1.fromDer(pfx.toString('latin1'))
  const read = forge.pkcs12.pkcs12FromAsn1(tree, passphrase)
  const bags = read.getBags({ friendlyName: 'Pump 7' }).friendlyName ?? []
  expect(bags).toHaveLength(2)
  const key = bags.find((bag) => bag.key)?.key
  const jwk = party.key.export({ format: 'jwk' })
  const modulus = Buffer.from(jwk.n ?? '', 'base64url').toString('hex')
  expect(key && 'n' in key && key.n.toString(16)).toBe(modulus)
  expect(() => forge.pkcs12.pkcs12FromAsn1(tree, 'kettle-Harbor-48')).toThrow('Invalid password')
})

test.each(['', 'seven77', 'a'.repeat(129), 'with blanks inside', 'Schlüsselbund', 'nul\0nul\0nul'])(
  'a passphrase is refused: %j',
  async (wrong) => {
    await expect(buildPkcs12(input({ passphrase: wrong }))).rejects.toMatchObject({
      code: 'pkcs12',
    })
  },
)

test('key and certificate belong together, and the rest is bounded', async () => {
  const { certificate } = await makeParty(root, 'P-256')
  expect(spkiOf(party.key)).toEqual(party.spki)
  const chain = Array.from({ length: 9 }, () => certificate)
  for (const wrong of [{ certificate }, { chain }, { friendlyName: 'x'.repeat(65) }]) {
    await expect(buildPkcs12(input(wrong))).rejects.toMatchObject({ code: 'pkcs12' })
  }
})

test('two files for one key have nothing random in common', async () => {
  const [one, other] = [await buildPkcs12(input()), await buildPkcs12(input())]
  expect(one.length).toBe(other.length)
  expect(one.subarray(-64).equals(other.subarray(-64))).toBe(false)
})

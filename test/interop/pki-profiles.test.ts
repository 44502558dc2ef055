import { afterAll, beforeAll, expect, test } from 'vitest'

import type { CrlInput, RevokedCertificate } from '../../pki/crl/build.ts'
import { crlReasons } from '../../pki/crl/revocation.ts'
import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { toPem } from '../../pki/pem.ts'
import type { Certificate } from '../../pki/x509/parse.ts'
import { makeCrl } from '../support/crl-fixture.ts'
import { openssl, opensslAccepts, opensslVersion, scratchDirectory } from '../support/openssl.ts'
import type { Authority } from '../support/pki-fixture.ts'
import {
  crlUrl,
  daysFrom,
  deviceInput,
  issue,
  makeIssuer,
  makeRoot,
  now,
} from '../support/pki-fixture.ts'
import { type LeafProfile, leafInput } from '../support/profile-inputs.ts'

const judge = test.skipIf(!opensslVersion)
const files = scratchDirectory()
const atNow = ['-attime', String(now.getTime() / 1000)]
let root: Authority
let issuer: Authority
let chain: string[]

test(`the judge is ${opensslVersion ?? 'missing'}`, ({ skip }) => {
  if (!opensslVersion) skip('openssl is missing on this machine')
})

beforeAll(async () => {
  if (!opensslVersion) return
  root = await makeRoot()
  issuer = await makeIssuer(root)
  const rootFile = files.write('root.pem', toPem('CERTIFICATE', root.certificate.der))
  const issuerFile = files.write('issuer.pem', toPem('CERTIFICATE', issuer.certificate.der))
  chain = ['-CAfile', rootFile, '-untrusted', issuerFile]
})
afterAll(() => files[Symbol.dispose]())

function verifies(certificate: Certificate, ...options: string[]): boolean {
  const file = files.write('leaf.pem', toPem('CERTIFICATE', certificate.der))
  const strict = ['verify', '-x509_strict', '-check_ss_sig', ...atNow]
  return opensslAccepts(...strict, ...chain, ...options, file)
}

judge.each<[profile: LeafProfile, fits: string[], refuses: string[], text: RegExp]>([
  ['device', ['sslclient'], ['sslserver'], /OCSP - URI:http:/],
  ['claim', ['sslclient'], ['sslserver'], /URI:urn:fleetseal:claim:/],
  ['idevid', ['sslclient', 'any'], ['crlsign'], /Not After : Dec 31 23:59:59 9999 GMT/],
  ['ocsp-responder', ['ocsphelper', 'any'], ['sslclient'], /OCSP No Check/],
  ['metadata-signer', ['any'], ['sslclient', 'sslserver'], /Code Signing/],
  ['scep-ra', ['any'], ['crlsign'], /Digital Signature, Key Encipherment/],
])('P7 a %s certificate passes -x509_strict for its purposes only', async (profile, ...rest) => {
  const [fits, refuses, text] = rest
  const spki = spkiOf(generatePrivateKey(profile === 'scep-ra' ? 'RSA-2048' : 'P-256'))
  const leaf = await issue(profile, issuer, leafInput(profile, issuer, spki))
  for (const purpose of fits) expect(verifies(leaf, '-purpose', purpose)).toBe(true)
  for (const purpose of refuses) expect(verifies(leaf, '-purpose', purpose)).toBe(false)
  const file = files.write('shown.pem', toPem('CERTIFICATE', leaf.der))
  expect(openssl('x509', '-in', file, '-noout', '-text').toString()).toMatch(text)
})

async function lists(...all: [entries: RevokedCertificate[], change: Partial<CrlInput>][]) {
  const pems = []
  for (const [entries, change] of all) {
    pems.push(toPem('X509 CRL', (await makeCrl(issuer, entries, change)).der))
  }
  return files.write('lists.pem', pems.join(''))
}

judge('V3 V4 P9 openssl puts our delta on top of our shard', async () => {
  const spki = spkiOf(generatePrivateKey('P-256'))
  const device = await issue('device', issuer, deviceInput(issuer, spki))
  const reason = crlReasons.certificateHold
  const hold = { serial: device.serial, revokedAt: daysFrom(now, -1), reason }
  const gone = { ...hold, reason: crlReasons.removeFromCRL }
  const times = { thisUpdate: daysFrom(now, -1) }
  const shard = { url: crlUrl }
  const full = { ...times, shard, number: 7n, freshestUrl: `${crlUrl}/delta` }
  const delta = { ...times, shard, number: 8n, delta: { baseNumber: 7n } }
  const check = (file: string, ...more: string[]) =>
    verifies(device, '-crl_check', '-CRLfile', file, '-extended_crl', ...more)
  const deltas = '-use_deltas'

  expect(check(await lists([[], full], [[], delta]), deltas)).toBe(true)
  expect(check(await lists([[], full], [[hold], delta]), deltas)).toBe(false)
  expect(check(await lists([[hold], full], [[], delta]), deltas)).toBe(false)
  expect(check(await lists([[hold], full], [[gone], delta]), deltas)).toBe(true)
  // Without deltas only the full list speaks, and a delta alone is none.
  expect(check(await lists([[hold], full], [[gone], delta]))).toBe(false)
  expect(check(await lists([[], delta]), deltas)).toBe(false)
  // A delta of another shard is not applied.
  const other = { ...delta, shard: { url: `${crlUrl}x` } }
  expect(check(await lists([[hold], full], [[gone], other]), deltas)).toBe(false)
})

judge('V4 openssl shows the hold, its release and the base number', async () => {
  const reason = crlReasons.removeFromCRL
  const entry = { serial: Buffer.from([0x41]), revokedAt: now, reason }
  const file = await lists([[entry], { number: 8n, delta: { baseNumber: 7n } }])
  const text = openssl('crl', '-in', file, '-noout', '-text').toString()
  expect(text).toMatch(/Delta CRL Indicator: critical\s+7/)
  expect(text).toContain('Remove From CRL')
})

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import type { OcspResponder, SerialStatus } from '../../pki/ocsp/answer.ts'
import { answerOcsp, ocspError, presignOcsp } from '../../pki/ocsp/answer.ts'
import type { CertIdHash } from '../../pki/ocsp/cert-id.ts'
import { encodeCertId } from '../../pki/ocsp/cert-id.ts'
import { checkOcspResponse } from '../../pki/ocsp/check.ts'
import { buildOcspRequest, parseOcspRequest } from '../../pki/ocsp/request.ts'
import { toPem } from '../../pki/pem.ts'
import type { Certificate } from '../../pki/x509/parse.ts'
import { makeResponder } from '../support/ocsp-fixture.ts'
import { openssl, opensslVersion, scratchDirectory } from '../support/openssl.ts'
import type { Authority } from '../support/pki-fixture.ts'
import {
  daysFrom,
  deviceInput,
  issue,
  issuedBy,
  makeIssuer,
  makeRoot,
  now,
} from '../support/pki-fixture.ts'

const judge = test.skipIf(!opensslVersion)
const files = scratchDirectory()
// openssl compares the times of a response with the real clock; those of certificates with -attime.
const realNow = new Date()
const validity = { thisUpdate: realNow, nextUpdate: daysFrom(realNow, 1) }
const statuses = {
  good: { status: 'good', ...validity },
  unknown: { status: 'unknown', ...validity },
  revoked: { status: 'revoked', revokedAt: daysFrom(realNow, -1), reason: 1, ...validity },
} satisfies Record<string, SerialStatus>
let issuer: Authority
let device: Certificate
let second: Certificate
let responder: OcspResponder
let options: string[]
let deviceFile: string
let secondFile: string

test(`the judge is ${opensslVersion ?? 'missing'}`, ({ skip }) => {
  if (!opensslVersion) skip('openssl is missing on this machine')
})

beforeAll(async () => {
  if (!opensslVersion) return
  const root = await makeRoot()
  issuer = await makeIssuer(root)
  responder = await makeResponder(issuer)
  const spki = spkiOf(generatePrivateKey('P-256'))
  device = await issue('device', issuer, deviceInput(issuer, spki))
  const again = { ...deviceInput(issuer, spki), serial: issuedBy(issuer).serial }
  second = await issue('device', issuer, again)
  const pem = (name: string, { der }: Certificate) => files.write(name, toPem('CERTIFICATE', der))
  deviceFile = pem('device.pem', device)
  secondFile = pem('second.pem', second)
  options = ['-issuer', pem('issuer.pem', issuer.certificate)]
  options.push('-CAfile', pem('root.pem', root.certificate))
  options.push('-attime', String(now.getTime() / 1000))
})
afterAll(() => files[Symbol.dispose]())

/** A request that openssl makes for the certificates. */
function theirRequest(hash: CertIdHash, certificates: string[], ...more: string[]): Buffer {
  const out = join(files.path, 'request.der')
  const about = certificates.flatMap((file) => ['-cert', file])
  openssl('ocsp', `-${hash}`, ...options, ...about, '-reqout', out, ...more)
  return readFileSync(out)
}

/** What openssl says of a response to the request for the certificates. */
function verdict(
  response: Buffer,
  hash: CertIdHash,
  certificates: string[],
  ...more: string[]
): { text: string; verifies: boolean } {
  const file = files.write('response.der', response)
  const about = certificates.flatMap((one) => ['-cert', one])
  const args = ['ocsp', `-${hash}`, ...options, ...about, '-respin', file, ...more]
  const { stdout, stderr } = spawnSync('openssl', args, { encoding: 'utf8' })
  return { text: stdout + stderr, verifies: stderr.includes('Response verify OK') }
}

async function answer(request: Buffer, ...known: SerialStatus[]): Promise<Buffer> {
  return (await answerOcsp(request, responder, async () => known, realNow)).der
}

judge.each<[hash: CertIdHash, name: keyof typeof statuses]>([
  ['sha1', 'good'],
  ['sha1', 'revoked'],
  ['sha1', 'unknown'],
  ['sha256', 'good'],
  ['sha256', 'revoked'],
  ['sha256', 'unknown'],
])('V10 openssl asks by %s and reads %s, live and pre-signed', async (hash, name) => {
  const request = theirRequest(hash, [deviceFile], '-no_nonce')
  const live = await answer(request, statuses[name])
  const signing = { hash, now: realNow }
  const made = await presignOcsp(responder, device.serial, statuses[name], signing)
  for (const der of [live, made.der]) {
    const { text, verifies } = verdict(der, hash, [deviceFile], '-no_nonce')
    expect(text).toContain(`device.pem: ${name}`)
    expect(text).not.toContain('Status times invalid')
    expect(verifies).toBe(true)
  }
  if (name === 'revoked') {
    expect(verdict(live, hash, [deviceFile], '-no_nonce').text).toContain('keyCompromise')
  }
})

judge('V10 openssl gets its nonce back, and notices another one', async () => {
  const request = theirRequest('sha1', [deviceFile], '-nonce')
  expect(parseOcspRequest(request).nonce?.length).toBeGreaterThan(0)
  const file = files.write('asked.der', request)
  const compare = (response: Buffer) => {
    const args = ['ocsp', ...options, '-no_nonce', '-reqin', file, '-respin']
    const { stderr } = spawnSync('openssl', [...args, files.write('r.der', response)], {
      encoding: 'utf8',
    })
    return stderr
  }
  const matching = await answer(request, statuses.good)
  expect(compare(matching)).toContain('Response verify OK')
  const other = await answer(theirRequest('sha1', [deviceFile], '-nonce'), statuses.good)
  expect(compare(other)).toMatch(/nonce/i)
})

judge('V10 openssl asks for two certificates at once', async () => {
  const both = [deviceFile, secondFile]
  const request = theirRequest('sha256', both, '-no_nonce')
  expect(parseOcspRequest(request).certIds.map(({ serial }) => serial)).toEqual([
    device.serial,
    second.serial,
  ])
  const response = await answer(request, statuses.good, statuses.revoked)
  const { text } = verdict(response, 'sha256', both, '-no_nonce')
  expect(text).toContain('device.pem: good')
  expect(text).toContain('second.pem: revoked')
})

judge('V10 openssl reads our request and our errors', async () => {
  const certId = encodeCertId('sha256', responder.hashes, device.serial)
  const file = files.write('ours.der', buildOcspRequest([certId], Buffer.alloc(32, 7)))
  const text = openssl('ocsp', '-reqin', file, '-req_text', '-noverify').toString()
  expect(text).toContain(device.serial.toString('hex').toUpperCase())
  expect(text).toContain('OCSP Nonce')
  for (const status of ['unauthorized', 'malformedRequest', 'tryLater'] as const) {
    const response = ocspError(status).der
    expect(verdict(response, 'sha1', [deviceFile]).text).toContain(
      `Responder Error: ${status.toLowerCase()}`,
    )
  }
})

judge('V10 openssl refuses an answer of a responder that another issuer certified', async () => {
  const root = await makeRoot()
  const theirs = await makeResponder(await makeIssuer(root))
  const request = theirRequest('sha1', [deviceFile], '-no_nonce')
  const by = { ...theirs, hashes: responder.hashes }
  const { der } = await answerOcsp(request, by, async () => [statuses.good], realNow)
  expect(verdict(der, 'sha1', [deviceFile], '-no_nonce').verifies).toBe(false)
})

judge('D1 an answer of openssl is read and verified by us', async () => {
  const key = generatePrivateKey('P-256')
  const spki = spkiOf(key)
  const certificate = await issue('ocsp-responder', issuer, {
    ...deviceInput(issuer, spki),
    san: undefined,
    crlUrl: undefined,
    notBefore: daysFrom(realNow, -1),
    notAfter: daysFrom(realNow, 29),
  })
  const index = [
    'V\t301231235959Z\t\t',
    `${device.serial.toString('hex').toUpperCase()}\tunknown\t/CN=a\n`,
    'R\t301231235959Z\t260101000000Z,superseded\t',
    `${second.serial.toString('hex').toUpperCase()}\tunknown\t/CN=b\n`,
  ].join('')
  const respond = ['-index', files.write('index.txt', index), '-ndays', '1']
  respond.push('-CA', files.write('ca.pem', toPem('CERTIFICATE', issuer.certificate.der)))
  respond.push('-rsigner', files.write('signer.pem', toPem('CERTIFICATE', certificate.der)))
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' })
  respond.push('-rkey', files.write('signer.key', toPem('PRIVATE KEY', pkcs8)))
  const request = files.write('q.der', theirRequest('sha1', [deviceFile, secondFile], '-nonce'))
  const out = join(files.path, 'theirs.der')
  openssl('ocsp', ...respond, '-reqin', request, '-respout', out)
  const response = readFileSync(out)
  const { nonce } = parseOcspRequest(readFileSync(request))
  const status = (serial: Buffer, expected = nonce) => {
    const question = { serial, issuer: issuer.certificate, maxSkewMs: 60_000 }
    return checkOcspResponse(response, { ...question, at: realNow, nonce: expected })
  }
  expect(status(device.serial)).toEqual({ status: 'good' })
  const revokedAt = new Date('2026-01-01T00:00:00Z')
  expect(status(second.serial)).toEqual({ status: 'revoked', revokedAt, reason: 4 })
  expect(() => status(device.serial, Buffer.alloc(16))).toThrow(/nonce/)
  expect(() => status(issuer.certificate.serial)).toThrow(/another certificate/)
})

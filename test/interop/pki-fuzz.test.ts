import { X509Certificate } from 'node:crypto'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { openssl, opensslAccepts, opensslVersion, scratchDirectory } from '../support/openssl.ts'
import type { FuzzKind, FuzzTarget } from '../support/pki-fuzz.ts'
import { accepts, fuzzKinds, fuzzTargets, mutant } from '../support/pki-fuzz.ts'

const judge = test.skipIf(!opensslVersion)
const files = scratchDirectory()
const total = Number(process.env['FLEETSEAL_FUZZ'] ?? 5000)
/** openssl is started for each, so only some of those that we accept are shown to it. */
const samples = Math.ceil(total / 250)
const attempts = total
let targets: Readonly<Record<FuzzKind, FuzzTarget>>

test(`the judge is ${opensslVersion ?? 'missing'}`, ({ skip }) => {
  if (!opensslVersion) skip('openssl is missing on this machine')
})

beforeAll(async () => {
  targets = await fuzzTargets()
})
afterAll(() => files[Symbol.dispose]())

const commands: Readonly<Record<FuzzKind, (file: string) => string[]>> = {
  certificate: (file) => ['x509', '-inform', 'DER', '-in', file, '-noout', '-text'],
  csr: (file) => ['req', '-inform', 'DER', '-in', file, '-noout', '-verify', '-text'],
  crl: (file) => ['crl', '-inform', 'DER', '-in', file, '-noout', '-text'],
  'ocsp-request': (file) => ['ocsp', '-reqin', file, '-req_text', '-noverify'],
  'ocsp-response': (file) => ['ocsp', '-respin', file, '-resp_text', '-noverify'],
}

/** Mutations that we read and that are not the honest input. */
function* accepted(kind: FuzzKind): Generator<Buffer, void, undefined> {
  const target = targets[kind]
  let found = 0
  for (let number = 0; number < attempts && found < samples; number += 1) {
    const der = mutant(target, number)
    if (target.seeds.some((seed) => seed.equals(der)) || !accepts(target, der)) continue
    found += 1
    yield der
  }
}

judge.each(fuzzKinds)('D2 what we read of a mutated %s, openssl reads too', (kind) => {
  const refused = []
  for (const der of accepted(kind)) {
    const file = files.write('mutant.der', der)
    if (!opensslAccepts(...commands[kind](file))) refused.push(der.toString('hex'))
  }
  expect(refused).toEqual([])
  const garbage = files.write('garbage.der', Buffer.from('3003020100', 'hex'))
  expect(opensslAccepts(...commands[kind](garbage))).toBe(false)
})

judge(
  'D2 no extension that we read is malformed to openssl, and Node reads the certificate',
  () => {
    for (const der of accepted('certificate')) {
      expect(() => new X509Certificate(der)).not.toThrow()
      const text = openssl(...commands.certificate(files.write('mutant.der', der))).toString()
      expect(text).not.toMatch(/Parse error|<Not Supported>|Unable to load/i)
    }
  },
)

import { beforeAll, expect, test } from 'vitest'

import { oids } from '../../../pki/der/oids.ts'
import { sequence, tlv } from '../../../pki/der/writer.ts'
import { generatePrivateKey, spkiOf } from '../../../pki/keys.ts'
import { encodeName } from '../../../pki/names.ts'
import type { PathFailure, PathOptions } from '../../../pki/path-validate.ts'
import { validatePath } from '../../../pki/path-validate.ts'
import { softwareSigner } from '../../../pki/signer.ts'
import {
  encodeExtension,
  encodeNameConstraints,
  encodeSubjectAltName,
} from '../../../pki/x509/extension-writer.ts'
import type { GeneralName } from '../../../pki/x509/general-names.ts'
import { encodeGeneralName } from '../../../pki/x509/general-names.ts'
import type { Certificate } from '../../../pki/x509/parse.ts'
import { parseCertificate } from '../../../pki/x509/parse.ts'
import type { Authority, RawTbs } from '../../support/pki-fixture.ts'
import {
  deviceInput,
  issue,
  makeIssuer,
  makeRoot,
  now,
  rawExtensions,
  rawTbs,
  signRaw,
} from '../../support/pki-fixture.ts'

let root: Authority
const spki = spkiOf(generatePrivateKey('P-256'))
const client: PathOptions = { at: now, purpose: 'clientAuth' }

beforeAll(async () => {
  root = await makeRoot()
})

const chainOf = (...certificates: { der: Buffer }[]) => certificates.map(({ der }) => der)

function outcome(chain: Buffer[], anchors: Buffer[], options: PathOptions): PathFailure | 'valid' {
  const verdict = validatePath(chain, anchors, options)
  return verdict.valid ? 'valid' : verdict.reason
}

function againstRoot(...certificates: { der: Buffer }[]): PathFailure | 'valid' {
  return outcome(chainOf(...certificates), [root.certificate.der], client)
}

async function raw(by: Authority, parts: RawTbs): Promise<Certificate> {
  return parseCertificate(await signRaw(rawTbs(by, parts), by))
}

const certSign = encodeExtension(oids.keyUsage, true, Buffer.from('03020204', 'hex'))
const unlimitedCa = encodeExtension(oids.basicConstraints, true, Buffer.from('30030101ff', 'hex'))

/** A CA with whatever extensions, signed by `by`. */
async function rawCa(by: Authority, extensions: Buffer[], commonName = 'CA'): Promise<Authority> {
  const signer = softwareSigner(generatePrivateKey('P-256'))
  const subject = encodeName({ organization: 'Test', commonName })
  return { signer, certificate: await raw(by, { subject, spki: signer.spki, extensions }) }
}

test('A13 name constraints bind every level below', async () => {
  const tenant = await makeIssuer(root, { permittedNames: [encodeName({ organization: 'Test' })] })
  const inside = await issue('device', tenant, deviceInput(tenant, spki))
  expect(againstRoot(inside, tenant.certificate)).toBe('valid')
  const outside = await issue('device', tenant, {
    ...deviceInput(tenant, spki),
    subject: encodeName({ organization: 'Tests' }),
  })
  expect(againstRoot(outside, tenant.certificate)).toBe('name-constraints')
  const upper = await rawCa(root, [
    unlimitedCa,
    certSign,
    encodeNameConstraints([encodeName({ organization: 'Test' })]),
  ])
  const lower = await rawCa(upper, [unlimitedCa, certSign], 'Lower')
  const deep = await raw(lower, { subject: encodeName({ organization: 'Other' }) })
  expect(againstRoot(deep, lower.certificate, upper.certificate)).toBe('name-constraints')
  const fine = await raw(lower, { subject: encodeName({ organization: 'Test', commonName: 'x' }) })
  expect(againstRoot(fine, lower.certificate, upper.certificate)).toBe('valid')
})

const subtree = (tag: number, base: GeneralName) => {
  const constraints = sequence(tlv(tag, sequence(encodeGeneralName(base))))
  return encodeExtension(oids.nameConstraints, true, constraints)
}

const permitted = 0xa0
const excluded = 0xa1
const dns = (value: string): GeneralName => ({ type: 'dns', value })
const uri = (value: string): GeneralName => ({ type: 'uri', value })
const email = (value: string): GeneralName => ({ type: 'email', value })
const ip = (...octets: number[]): GeneralName => ({ type: 'ip', value: Buffer.from(octets) })

test.each<[tag: number, base: GeneralName, name: GeneralName, isValid: boolean]>([
  [permitted, dns('example.com'), dns('a.Example.com'), true],
  [permitted, dns('example.com'), dns('example.com'), true],
  [permitted, dns('example.com'), dns('badexample.com'), false],
  [excluded, dns('example.com'), dns('a.example.com'), false],
  [excluded, dns('example.com'), dns('example.org'), true],
  [permitted, uri('.example.com'), uri('https://a.example.com/x'), true],
  [permitted, uri('.example.com'), uri('https://example.com/x'), false],
  [permitted, uri('example.com'), uri('https://example.com:8443/x'), true],
  [permitted, uri('example.com'), uri('https://example.com@evil.org/'), false],
  // T13: a URI without a host cannot be judged.
  [permitted, uri('example.com'), uri('urn:uuid:5f0c9a6e-0b5d-4c63-9d3a-0123456789ab'), false],
  [excluded, uri('example.com'), uri('urn:uuid:5f0c9a6e-0b5d-4c63-9d3a-0123456789ab'), false],
  [excluded, uri('example.com'), uri('https://10.0.0.1/'), false],
  [permitted, email('example.com'), email('a@example.com'), true],
  [permitted, email('example.com'), email('a@b.example.com'), false],
  [permitted, email('a@example.com'), email('b@example.com'), false],
  [permitted, ip(10, 0, 0, 0, 255, 0, 0, 0), ip(10, 1, 2, 3), true],
  [permitted, ip(10, 0, 0, 0, 255, 0, 0, 0), ip(11, 1, 2, 3), false],
  [permitted, ip(10, 0, 0, 0, 255, 0, 0, 0), dns('anything.example'), true],
  // What is no subtree excludes nothing, so that nothing of its kind gets by.
  [excluded, ip(10, 0, 0, 0, 255, 0, 0, 0), ip(11, 1, 2, 3), true],
  [excluded, ip(10, 0, 0, 0), ip(10, 0, 0, 0), false],
  [excluded, dns('*.example.com'), dns('a.example.com'), false],
  [excluded, dns('.example.com'), dns('a.example.com'), false],
  [excluded, email('a@b@example.com'), email('a@example.com'), false],
  [excluded, dns('bar.example.com'), dns('*.Example.com'), false],
  [excluded, dns('bar.example.com'), dns('*.example.org'), true],
])('A13 T13 constraint %# judges a name', async (tag, base, name, isValid) => {
  const ca = await rawCa(root, [unlimitedCa, certSign, subtree(tag, base)])
  const names = encodeSubjectAltName([name], false)
  const leaf = await raw(ca, { extensions: [...rawExtensions(ca), names] })
  expect(againstRoot(leaf, ca.certificate)).toBe(isValid ? 'valid' : 'name-constraints')
})

import { beforeAll, expect, test } from 'vitest'

import { oids } from '../../../pki/der/oids.ts'
import { contextPrimitive, integer, oid, sequence } from '../../../pki/der/writer.ts'
import { generatePrivateKey } from '../../../pki/keys.ts'
import { encodeName } from '../../../pki/names.ts'
import { validatePath } from '../../../pki/path-validate.ts'
import { softwareSigner } from '../../../pki/signer.ts'
import { encodeExtension } from '../../../pki/x509/extension-writer.ts'
import { parseCertificate } from '../../../pki/x509/parse.ts'
import type { Authority } from '../../support/pki-fixture.ts'
import { makeRoot, now, rawExtensions, rawTbs, signRaw } from '../../support/pki-fixture.ts'

let root: Authority

beforeAll(async () => {
  root = await makeRoot('P-256')
})

const caExtensions = [
  encodeExtension(oids.basicConstraints, true, Buffer.from('30030101ff', 'hex')),
  encodeExtension(oids.keyUsage, true, Buffer.from('03020204', 'hex')),
]
const gold = '1.2.840.99.1'
const silver = '1.2.840.99.2'
const anyPolicy = '2.5.29.32.0'

const policies = (...names: string[]) => {
  const list = sequence(...names.map((name) => sequence(oid(name))))
  return encodeExtension(oids.certificatePolicies, false, list)
}
const mapping = (...pairs: [from: string, to: string][]) => {
  const list = sequence(...pairs.map(([from, to]) => sequence(oid(from), oid(to))))
  return encodeExtension(oids.policyMappings, true, list)
}
const constraint = (number: 0 | 1, skip: number) =>
  encodeExtension(
    oids.policyConstraints,
    true,
    sequence(contextPrimitive(number, integer(skip).subarray(2))),
  )
const required = constraint(0, 0)
const noMapping = constraint(1, 0)
const noAny = encodeExtension(oids.inhibitAnyPolicy, true, integer(0))

/** The verdict on a leaf below two CAs with these extensions each. */
async function outcome(upper: Buffer[], lower: Buffer[], leaf: Buffer[]): Promise<string> {
  const upperCa = await authority(root, upper, 'Upper')
  const lowerCa = await authority(upperCa, lower, 'Lower')
  const tbs = rawTbs(lowerCa, { extensions: [...rawExtensions(lowerCa), ...leaf] })
  const chain = [await signRaw(tbs, lowerCa), lowerCa.certificate.der, upperCa.certificate.der]
  const options = { at: now, purpose: 'clientAuth' } as const
  const verdict = validatePath(chain, [root.certificate.der], options)
  return verdict.valid ? 'valid' : verdict.reason
}

async function authority(by: Authority, more: Buffer[], commonName: string): Promise<Authority> {
  const signer = softwareSigner(generatePrivateKey('P-256'))
  const subject = encodeName({ organization: 'Test', commonName })
  const parts = { subject, spki: signer.spki, extensions: [...caExtensions, ...more] }
  return { signer, certificate: parseCertificate(await signRaw(rawTbs(by, parts), by)) }
}

test.each<[what: string, upper: Buffer[], lower: Buffer[], leaf: Buffer[], expected: string]>([
  ['none at all', [], [], [], 'valid'],
  ['different ones, none required', [policies(gold)], [policies(silver)], [], 'valid'],
  ['the same', [policies(gold), required], [policies(gold)], [policies(gold)], 'valid'],
  [
    'another in the leaf',
    [policies(gold), required],
    [policies(gold)],
    [policies(silver)],
    'policy',
  ],
  ['none in the leaf', [policies(gold), required], [policies(gold)], [], 'policy'],
  ['none in a CA', [policies(gold), required], [], [policies(gold)], 'policy'],
  ['any above', [policies(anyPolicy), required], [policies(anyPolicy)], [policies(gold)], 'valid'],
  ['any below', [policies(gold), required], [policies(anyPolicy)], [policies(anyPolicy)], 'valid'],
  [
    'any below, inhibited',
    [policies(gold), required, noAny],
    [policies(anyPolicy)],
    [policies(gold)],
    'policy',
  ],
  [
    'required by the leaf',
    [policies(gold)],
    [policies(gold)],
    [policies(silver), required],
    'policy',
  ],
  ['required late', [constraint(0, 2)], [], [], 'policy'],
  ['required too late', [constraint(0, 3)], [], [], 'valid'],
  [
    'mapped',
    [policies(gold), required],
    [policies(gold), mapping([gold, silver])],
    [policies(silver)],
    'valid',
  ],
  [
    'mapped away',
    [policies(gold), required],
    [policies(gold), mapping([gold, silver])],
    [policies(gold)],
    'policy',
  ],
  [
    'mapped, inhibited',
    [policies(gold), constraintBoth()],
    [policies(gold), mapping([gold, silver])],
    [policies(silver)],
    'policy',
  ],
  ['mapped to any', [policies(gold)], [policies(gold), mapping([gold, anyPolicy])], [], 'policy'],
  ['mapped from any', [policies(gold)], [policies(gold), mapping([anyPolicy, gold])], [], 'policy'],
  ['only mapping inhibited', [policies(gold), noMapping], [policies(gold)], [], 'valid'],
])('policies: %s', async (_, upper, lower, leaf, expected) => {
  expect(await outcome(upper, lower, leaf)).toBe(expected)
})

function constraintBoth(): Buffer {
  const skips = [0, 1] as const
  const value = sequence(...skips.map((number) => contextPrimitive(number, Buffer.from([0]))))
  return encodeExtension(oids.policyConstraints, true, value)
}

const broken = (type: string, hex: string) => encodeExtension(type, true, Buffer.from(hex, 'hex'))

test.each<[what: string, extension: Buffer]>([
  ['empty policies', broken(oids.certificatePolicies, '3000')],
  ['a policy twice', policies(gold, gold)],
  ['65 policies', policies(...Array.from({ length: 65 }, (_, index) => `1.2.${index}`))],
  ['empty mappings', broken(oids.policyMappings, '3000')],
  [
    '65 mappings',
    mapping(...Array.from({ length: 65 }, (_, index): [string, string] => [`1.2.${index}`, gold])),
  ],
  ['empty constraints', broken(oids.policyConstraints, '3000')],
  ['a negative skip', broken(oids.policyConstraints, '30038001ff')],
  ['inhibitAnyPolicy that is no number', broken(oids.inhibitAnyPolicy, '0500')],
])('malformed policy extensions refuse the path: %s', async (_, extension) => {
  expect(await outcome([extension], [], [])).toBe('malformed')
})

test('many policies and mappings stay linear', async () => {
  const names = Array.from({ length: 63 }, (_, index) => `1.2.3.${index}`)
  const pairs = names.flatMap((from): [string, string][] => [[from, `${from}.1`]])
  const wide = [policies(anyPolicy, ...names), mapping(...pairs)]
  expect(await outcome(wide, wide, [policies(...names.map((name) => `${name}.1`))])).toBe('valid')
})

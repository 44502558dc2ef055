import { readFileSync } from 'node:fs'

import { expect, test } from 'vitest'
import { z } from 'zod'

import { billOfMaterials, productionPackages, readLock } from '../../scripts/sbom.ts'

/** Licenses under which others' work may be shipped beside an Apache-2.0 program. */
const allowed = new Set([
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  'CC0-1.0',
  'ISC',
  'MIT',
  'MIT-0',
  'MPL-2.0',
  'Python-2.0',
  'Unlicense',
])
/** Of a choice one is enough; of a conjunction each has to be allowed. */
function isAllowed(expression: string): boolean {
  const plain = expression.replaceAll(/[()]/g, '')
  return plain
    .split(' OR ')
    .some((part) => part.split(' AND ').every((id) => allowed.has(id.trim())))
}

const lock = readLock()
const packages = productionPackages(lock)

test('what is shipped is under licenses that allow it', () => {
  expect(packages.length).toBeGreaterThan(50)
  const others = packages.filter(({ license }) => license === undefined || !isAllowed(license))
  expect(others.map(({ name, license }) => `${name}: ${license}`)).toEqual([])
  expect(isAllowed('(BSD-3-Clause OR GPL-2.0)')).toBe(true)
  expect(isAllowed('MIT AND GPL-3.0')).toBe(false)
  expect(isAllowed('AGPL-3.0')).toBe(false)
})

test('what is shipped is named by the hash of its bytes, and comes from nowhere but a registry', () => {
  const odd = packages.filter(
    ({ integrity, resolved = 'https://' }) =>
      !integrity?.startsWith('sha512-') || !resolved.startsWith('https://'),
  )
  expect(odd.map(({ name }) => name)).toEqual([])
})

test('no package runs a script when it is installed, unless package.json says so', () => {
  const { allowScripts } = z
    .looseObject({ allowScripts: z.record(z.string(), z.boolean()) })
    .parse(JSON.parse(readFileSync('package.json', 'utf8')))
  const scripted = Object.entries(lock.packages)
    .filter(([, one]) => one.hasInstallScript === true && one.optional !== true)
    .map(([path]) => path.split('node_modules/').at(-1) ?? '')
  expect(scripted.filter((name) => allowScripts[name] === undefined)).toEqual([])
})

const Bom = z.strictObject({
  $schema: z.literal('http://cyclonedx.org/schema/bom-1.6.schema.json'),
  bomFormat: z.literal('CycloneDX'),
  specVersion: z.literal('1.6'),
  serialNumber: z
    .string()
    .regex(/^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/),
  version: z.literal(1),
  metadata: z.strictObject({ component: z.looseObject({ name: z.literal('fleetseal') }) }),
  components: z.array(
    z.strictObject({
      type: z.literal('library'),
      'bom-ref': z.string(),
      group: z.string().optional(),
      name: z.string(),
      version: z.string(),
      scope: z.enum(['required', 'optional']),
      hashes: z.tuple([
        z.strictObject({ alg: z.literal('SHA-512'), content: z.string().regex(/^[0-9a-f]{128}$/) }),
      ]),
      licenses: z.tuple([
        z.union([
          z.strictObject({ license: z.strictObject({ id: z.string() }) }),
          z.strictObject({ expression: z.string() }),
        ]),
      ]),
      purl: z.string().regex(/^pkg:npm\/[^@ ]+@\d/),
    }),
  ),
  dependencies: z.array(z.strictObject({ ref: z.string(), dependsOn: z.array(z.string()) })),
})

test('the bill of materials: all that is shipped, each with license and hash, every reference to something in it, the same every time', () => {
  const text = billOfMaterials(lock)
  expect(billOfMaterials(readLock())).toBe(text)
  const bom = Bom.parse(JSON.parse(text))
  const refs = bom.components.map((one) => one['bom-ref'])
  expect(new Set(refs).size).toBe(refs.length)
  expect(new Set(refs)).toEqual(
    new Set(packages.map(({ name, version }) => `pkg:npm/${name.replace('@', '%40')}@${version}`)),
  )
  const known = new Set([...refs, bom.dependencies[0]?.ref])
  for (const { ref, dependsOn } of bom.dependencies) {
    expect(known.has(ref), ref).toBe(true)
    expect(dependsOn.filter((one) => !known.has(one))).toEqual([])
  }
  const direct = Object.keys(lock.packages['']?.dependencies ?? {})
  expect(bom.dependencies[0]?.dependsOn).toHaveLength(direct.length)
})

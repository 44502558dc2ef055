import { beforeAll, expect, test } from 'vitest'

import type { FuzzKind, FuzzTarget } from '../../support/pki-fuzz.ts'
import { accepts, fuzzKinds, fuzzTargets, mutant } from '../../support/pki-fuzz.ts'

/** Mutations of all kinds together; 200,000 for a night. */
const total = Number(process.env['FLEETSEAL_FUZZ'] ?? 5000)
const each = Math.ceil(total / fuzzKinds.length)
/** Milliseconds for one mutation, a hundred times what it takes. */
const timeoutMs = 60_000 + each * 10
let targets: Readonly<Record<FuzzKind, FuzzTarget>>

beforeAll(async () => {
  targets = await fuzzTargets()
})

test.each(fuzzKinds)('F1 F2 F3 an honest %s is read', (kind) => {
  for (const seed of targets[kind].seeds) expect(accepts(targets[kind], seed)).toBe(true)
})

test.each(fuzzKinds)(
  'F1 F2 F3 mutations of a %s give a typed error or a result',
  (kind) => {
    let accepted = 0
    for (let number = 0; number < each; number += 1) {
      if (accepts(targets[kind], mutant(targets[kind], number))) accepted += 1
    }
    // Both ways were taken, else the mutations are too wild or too tame to test anything.
    expect(accepted).toBeLessThan(each * 0.9)
    if (kind !== 'ocsp-response') expect(accepted).toBeGreaterThan(0)
  },
  timeoutMs,
)

test('the mutations are the same each time', () => {
  for (const kind of fuzzKinds.filter((one) => one !== 'csr')) {
    expect(mutant(targets[kind], 77)).toEqual(mutant(targets[kind], 77))
  }
})

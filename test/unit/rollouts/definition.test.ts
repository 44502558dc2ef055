import { createHash } from 'node:crypto'

import { expect, test } from 'vitest'

import {
  canonicalJson,
  definingColumns,
  definingPhaseColumns,
  definitionHash,
  definitionOf,
  type Stored,
} from '../../../server/rollouts/definition.ts'

/** Each column holds something of its own, so that a column which is added is tried too. */
const filled = (columns: Record<string, boolean>) =>
  Object.fromEntries(Object.keys(columns).map((column) => [column, `some ${column}`]))

const stored = {
  rollout: {
    ...filled(definingColumns),
    seed: Buffer.alloc(16, 1),
    abort_rules: [{ percent: 5, kinds: ['lost'] }],
    install_window: { zone: 'Europe/Berlin', duration: 'PT4H' },
    approvals_needed: 2,
    start_at: new Date('2026-11-26T10:00:00Z'),
    parent_id: null,
  },
  phases: [
    {
      ...filled(definingPhaseColumns),
      no: 1,
      percent: 12.5,
      rate: { basePerMinute: 50, factor: 1.1 },
      hold: false,
    },
  ],
  companions: [{ release_id: 'b' }, { release_id: 'a' }],
} as unknown as Stored

/** A value that the row does not have. */
function other(value: unknown): unknown {
  if (typeof value === 'number') return value + 1
  if (typeof value === 'boolean') return !value
  if (value instanceof Date) return new Date(value.getTime() + 1)
  if (Buffer.isBuffer(value)) return Buffer.alloc(16, 2)
  if (typeof value === 'string') return `${value}2`
  return value === null ? 7 : { changed: true }
}

const hash = definitionHash(stored).toString('hex')
const withRollout = (more: object): Stored => ({
  ...stored,
  rollout: { ...stored.rollout, ...more },
})
const withPhase = (more: object): Stored => ({
  ...stored,
  phases: stored.phases.map((phase) => ({ ...phase, ...more })),
})

test.each(Object.entries(definingColumns))('rollout.%s defines it: %s', (column, isDefining) => {
  const value = stored.rollout[column as keyof typeof definingColumns]
  const changed = definitionHash(withRollout({ [column]: other(value) })).toString('hex')
  expect(changed !== hash).toBe(isDefining)
})

test.each(Object.entries(definingPhaseColumns))(
  'a phase: %s defines it: %s',
  (column, isDefining) => {
    const value = stored.phases[0]?.[column as keyof typeof definingPhaseColumns]
    const changed = definitionHash(withPhase({ [column]: other(value) })).toString('hex')
    expect(changed !== hash).toBe(isDefining)
  },
)

test('what comes with it defines it; the order in which the database gives rows does not', () => {
  const companions = stored.companions.toReversed()
  expect(definitionHash({ ...stored, companions }).toString('hex')).toBe(hash)
  const fewer = { ...stored, companions: companions.slice(1) }
  expect(definitionHash(fewer).toString('hex')).not.toBe(hash)
  const two = stored.phases.flatMap((phase) => [phase, { ...phase, no: 2, percent: 100 }])
  const backward = { ...stored, phases: two.toReversed() }
  expect(definitionHash(backward)).toEqual(definitionHash({ ...stored, phases: two }))
  expect(definitionHash({ ...stored, phases: two }).toString('hex')).not.toBe(hash)
})

test('anybody can work the hash out from what is shown', () => {
  const shown = JSON.parse(JSON.stringify(definitionOf(stored))) as unknown
  expect(createHash('sha256').update(canonicalJson(shown)).digest('hex')).toBe(hash)
  expect(shown).toMatchObject({ startAt: '2026-11-26T10:00:00.000Z', with: ['a', 'b'] })
})

// The example of RFC 8785, section 3.2.2, as far as JSON.parse can express it.
test('the canonical form is that of RFC 8785', () => {
  const value = {
    numbers: [333333333.3333333, 1e30, 4.5, 2e-3, 1e-27],
    string: '€$\u000f\nA\'B"\\\\"/',
    literals: [null, true, false],
  }
  expect(canonicalJson(value)).toBe(
    String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
  )
  const keys = ['\u20ac', '\r', '\ufb33', '1', '\u{1f600}', '\u0080', '\u00f6']
  expect(
    Object.keys(JSON.parse(canonicalJson(Object.fromEntries(keys.map((key) => [key, 0]))))),
  ).toEqual(
    // JSON.parse moves what looks like an index to the front.
    ['1', '\r', '\u0080', '\u00f6', '\u20ac', '\u{1f600}', '\ufb33'],
  )
})

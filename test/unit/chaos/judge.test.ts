import { expect, test } from 'vitest'

import {
  badWords,
  heardAfterEnd,
  lostEvents,
  lostReports,
  twiceIssued,
} from '../../../chaos/judge.ts'
import { faultKinds, inWords, planOf } from '../../../chaos/plan.ts'

/* Each judgement of a fault run sees what it is there for, and nothing where all is well. */

/** A database that answers each question, known by a word in it, with these rows. */
function answering(answers: Record<string, unknown[]>) {
  const query = async (text: string) => {
    const found = Object.entries(answers).find(([word]) => text.includes(word))
    return { rows: found?.[1] ?? [] }
  }
  return { query } as unknown as Parameters<typeof lostEvents>[0]
}

const talker = (...numbers: number[]) => ({
  deviceId: 'd',
  acknowledged: numbers.map((no) => ({ no, atMs: no * 1_000 })),
})

test('an acknowledged event that is not stored is found, and one that is stored twice', async () => {
  const stored = [
    { no: 1, n: 1 },
    { no: 2, n: 2 },
    { no: 4, n: 1 },
  ]
  const database = answering({ security_event: stored })
  expect(await lostEvents(database, [talker(1, 2, 3)])).toEqual([
    'event 3 of d was acknowledged and is not stored',
    'event 2 of d is stored 2 times',
  ])
  expect(await lostEvents(database, [talker(1, 4)])).toEqual(['event 2 of d is stored 2 times'])
})

test('an acknowledged end of a deployment that its history lacks is found', async () => {
  const database = answering({
    deployment_event: [{ id: 'one', state: 'succeeded' }],
    'from deployment': [{ id: 'one' }, { id: 'two' }],
  })
  const told = (deploymentId: string, state: string) => ({ deviceId: 'd', deploymentId, state })
  const well = [told('one', 'succeeded'), told('two', 'downloading')]
  expect(await lostReports(database, well)).toEqual([])
  expect(
    await lostReports(database, [told('two', 'rolled_back'), told('three', 'offered')]),
  ).toEqual([
    'the report that two is rolled_back was acknowledged and is not in its history',
    'a report about three, which there is not, was acknowledged',
  ])
})

test('a serial number or a device that is there twice is found, and an enrollment without a certificate', async () => {
  const well = answering({ 'distinct device_id': [{ device_id: 'd' }] })
  expect(await twiceIssued(well, ['d'])).toEqual([])
  const ill = answering({
    authority_id: [{ serial: '0a', n: 2 }],
    serial_number: [{ serial: 'S-1', n: 3 }],
  })
  expect(await twiceIssued(ill, ['d'])).toEqual([
    'serial 0a was issued 2 times',
    'there are 3 devices S-1',
    'd was enrolled and has no certificate',
  ])
})

test('what a device without a right was told is found, but not what was before every process had to know', () => {
  const given = { talker: talker(1, 5, 9, 20), endedMs: 4_000, againMs: undefined, graceMs: 5_000 }
  expect(heardAfterEnd({ ...given, calmMs: 0 })).toEqual([
    'event 20 of d was acknowledged 16.0 s after its right had ended',
  ])
  expect(heardAfterEnd({ ...given, calmMs: 16_000 })).toEqual([])
  expect(heardAfterEnd({ ...given, calmMs: 0, againMs: 12_000 })).toEqual([])
  expect(heardAfterEnd({ ...given, calmMs: 0, endedMs: 3_000 })).toHaveLength(2)
})

test('the words of a program that broke are found', () => {
  const well = '{"level":50,"msg":"away"}\nfleetseal ready'
  expect(badWords(well)).toEqual([])
  expect(
    badWords(`${well}\n{"level":60,"msg":"a promise was rejected and nobody looked"}`),
  ).toHaveLength(1)
})

test('a seed is the same plan each time, and all kinds of faults come up', () => {
  const plans = Array.from({ length: 50 }, (_, n) => planOf(n + 1))
  expect(plans).toEqual(plans.map(({ seed }) => planOf(seed)))
  const kinds = new Set(plans.flatMap(({ faults }) => faults.map(({ kind }) => kind)))
  expect([...kinds].toSorted()).toEqual([...faultKinds].toSorted())
  for (const plan of plans) {
    expect(plan.faults.length).toBeGreaterThanOrEqual(4)
    if (!plan.isNetworked) expect(inWords(plan)).not.toContain('packets')
  }
  expect(plans.filter(({ brokers }) => brokers > 0).length).toBeGreaterThan(5)
})

test('only the kinds that were asked for', () => {
  const { faults } = planOf(3, ['kill-server'])
  expect(new Set(faults.map(({ kind }) => kind))).toEqual(new Set(['kill-server']))
})

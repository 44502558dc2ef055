import { expect, test } from 'vitest'

import type { Sample } from '../../bench/soak/sample.ts'
import { judgeSoak, type SoakFacts } from '../../bench/soak/verdict.ts'

/* The judgement of a soak: it has to see each kind of growth, and to let pass what a healthy server does. */

const minutes = Array.from({ length: 60 }, (_, minute) => minute)

const healthy = (minute: number): Sample => ({
  atMs: minute * 60_000,
  // A heap rises and falls by collections.
  heapBytes: 100e6 + (minute % 5) * 40e6,
  residentBytes: 400e6,
  handles: 40 + (minute % 3),
  connected: 2_000,
  databaseBytes: 50e6 + minute * 1e6,
  eventLoopP99Ms: 15,
})
const facts = (
  change: (sample: Sample, minute: number) => Partial<Sample> = () => ({}),
): SoakFacts => ({
  samples: minutes.map((minute) => {
    const sample = healthy(minute)
    return { ...sample, ...change(sample, minute) }
  }),
  latencies: { list: minutes.map((minute) => ({ atMs: minute * 60_000, ms: 5 + (minute % 4) })) },
  cycles: [
    { work: 4_000, grownBytes: 30e6 },
    { work: 4_000, grownBytes: 32e6 },
  ],
})
const grown = (given: SoakFacts) =>
  judgeSoak(given)
    .filter(({ flat }) => !flat)
    .map(({ what }) => what)

test('a healthy hour is flat', () => {
  expect(grown(facts())).toEqual([])
})

test.each<[string, (sample: Sample, minute: number) => Partial<Sample>]>([
  ['heap, least', ({ heapBytes }, minute) => ({ heapBytes: heapBytes + minute * 2e6 })],
  ['resident memory, median', (_, minute) => ({ residentBytes: 400e6 + minute * 4e6 })],
  ['handles beside devices, median', (_, minute) => ({ handles: 40 + minute })],
  ['event loop p99, median', (_, minute) => ({ eventLoopP99Ms: 15 + minute })],
])('%s that grows is found', (what, change) => {
  expect(grown(facts(change))).toEqual([what])
})

test('answers that become slower are found, and those that stop', () => {
  const slower = minutes.map((minute) => ({ atMs: minute * 60_000, ms: 5 + minute }))
  expect(grown({ ...facts(), latencies: { list: slower } })).toEqual(['list, p50', 'list, p99'])
  expect(grown({ ...facts(), latencies: { list: [] } })).toEqual(['list, p50', 'list, p99'])
})

test('a database that grows by more for the same work is found', () => {
  const cycles = [
    { work: 4_000, grownBytes: 30e6 },
    { work: 4_000, grownBytes: 60e6 },
  ]
  expect(grown({ ...facts(), cycles })).toEqual(['database, growth for each update or renewal'])
})

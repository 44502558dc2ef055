import { expect, test, vi } from 'vitest'

import type { Bench, Env } from '../../../bench/bench.ts'
import { median } from '../../../bench/cpu.ts'
import { parseOptions } from '../../../bench/options.ts'
import { findProgram } from '../../../bench/peers.ts'
import {
  asMarkdown,
  asText,
  overview,
  type Report,
  tally,
  withTable,
} from '../../../bench/report.ts'
import { beside, figure, missing, plain } from '../../../bench/row.ts'
import { sectionOf } from '../../../bench/section.ts'

const connect = (ours: number[], peer: number[]) =>
  beside('full connect', { ours, peer, name: 'mosquitto', budget: 'connect-mosquitto', unit: 'ms' })

test('a ratio is the median of the rounds’ ratios, with the least and the most of them', () => {
  // The second round was disturbed for both; the quotient of the medians would be 1.
  const row = connect([1, 10, 3], [2, 10, 3.5])
  expect(row).toMatchObject({
    figure: '3.00 ms',
    beside: 'mosquitto 3.50 ms',
    spread: { least: 0.5, most: 1 },
    target: '≤ 1.05',
    met: true,
  })
  expect(row.ratio).toBeCloseTo(3 / 3.5)
})

test('the median of an even number is between the two in the middle', () => {
  expect(median([3, 1, 2])).toBe(2)
  expect(median([4, 1, 2, 3])).toBe(2.5)
  expect(median([7])).toBe(7)
  expect(median([])).toBeNaN()
})

test('a budget is met at its limit and not above it', () => {
  const at = (value: number) =>
    figure('p99', { values: [value], unit: 'ms', budget: 'disable-p99' }).met
  expect([at(24.9), at(25), at(25.1)]).toEqual([true, true, false])
  expect(connect([1.06], [1]).met).toBe(false)
  const bytes = (ours: number) =>
    beside('hot', { ours: [ours], peer: [1], name: 'nginx', budget: 'bytes-hot', unit: '' }).met
  expect([bytes(1.2), bytes(1.1)]).toEqual([true, false])
})

test('what was not measured meets nothing', () => {
  const unknown = figure('p99', { values: [], unit: 'ms', budget: 'disable-p99' })
  expect(unknown.met).toBe(false)
  expect(() => connect([1, 2], [1])).toThrow(/2 rounds of ours beside 1 of mosquitto/)
})

const env = { say: () => {} } as unknown as Env
const bench = (run: Bench['run']): Bench => ({
  name: 'one',
  title: 'One',
  budgets: ['connect-mosquitto', 'connect-tls'],
  run,
})

test('a bench that fails leaves a row for each of its budgets, and says why', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  const section = await sectionOf(
    bench(async () => {
      throw new Error('no port')
    }),
    env,
  )
  expect(section.error).toBe('no port')
  expect(section.rows.map(({ budget, missing: why }) => [budget, why])).toEqual([
    ['connect-mosquitto', 'ended early'],
    ['connect-tls', 'ended early'],
  ])
  expect(tally([section])).toEqual({ met: 0, missed: 0, missing: 2 })
})

test('a budget that a bench forgot is not left out; one that it gave is there once', async () => {
  const section = await sectionOf(
    bench(async () => [connect([1], [1])]),
    env,
  )
  expect(section.rows.map(({ budget, missing: why }) => [budget, why])).toEqual([
    ['connect-mosquitto', undefined],
    ['connect-tls', 'this run gave no figure'],
  ])
  expect(section.error).toBeUndefined()
})

const report: Report = {
  format: 1,
  machine: {
    cpu: 'A',
    cores: 2,
    memoryGb: 8,
    kernel: '6.1',
    node: 'v24.21.0',
    openssl: '3.5.8',
    peers: { mosquitto: '2.0.11 (OpenSSL 3.0.19)' },
    commit: 'abc',
    at: '2026-11-27T00:00:00.000Z',
  },
  loadBefore: '0.10',
  loadAfter: '1.00',
  scale: 'full',
  rounds: 5,
  seconds: 60,
  benches: [
    {
      name: 'connect',
      title: 'Connecting',
      rows: [
        connect([1, 2], [2, 4]),
        plain('alone | or not', '7'),
        missing('hot', 'bytes-hot', 'nginx is not installed'),
      ],
    },
  ],
}

test('a page keeps its text, and gets the table between its markers', () => {
  const page = 'Before\n\n<!-- bench:begin -->\n\nold\n\n<!-- bench:end -->\n\nAfter\n'
  const written = withTable(page, asMarkdown(report))
  expect(written).toMatch(/^Before\n\n<!-- bench:begin -->\n\n2026-11-27 00:00 UTC, commit abc/)
  expect(written).toMatch(/<!-- bench:end -->\n\nAfter\n$/)
  expect(written).not.toContain('old')
  expect(withTable(written, asMarkdown(report))).toBe(written)
  expect(() => withTable('nothing', 'x')).toThrow(/bench:begin/)
})

test('the table says what is met, what is not measured and why', () => {
  const lines = asMarkdown(report).split('\n')
  expect(lines).toContainEqual(expect.stringMatching(/\| mosquitto 3\.00 ms \| 0\.50 +\|.*\| met/))
  expect(lines).toContainEqual(expect.stringContaining('not measured: nginx is not installed'))
  expect(lines).toContainEqual(expect.stringContaining('alone \\| or not'))
  const [section] = report.benches
  expect(section && asText(section)).toContain('not measured: nginx is not installed')
})

test('all budgets are in one table, under what was promised', () => {
  const rows = overview(report.benches).rows.map(({ what }) => what)
  expect(rows).toEqual([
    'full mTLS connect, identity and status checked, presence recorded:',
    'full connect',
    'firmware bytes:',
    'hot',
  ])
})

test('options are checked', () => {
  expect(parseOptions(['--quick', 'connect'])).toMatchObject({
    quick: true,
    smoke: false,
    rounds: 3,
    names: ['connect'],
  })
  expect(parseOptions(['--smoke', '--rounds', '2'])).toMatchObject({ quick: true, rounds: 2 })
  expect(parseOptions([])).toMatchObject({ quick: false, rounds: 5 })
  expect(parseOptions(['--help'])).toBe('help')
  for (const wrong of [
    ['--rounds', '0'],
    ['--rounds', 'many'],
    ['--without', 'apache'],
    ['--fast'],
  ]) {
    expect(parseOptions(wrong)).toHaveProperty('wrong')
  }
})

test('a program that is not installed is not found', () => {
  expect(findProgram('sh')).toMatch(/\/sh$/)
  expect(findProgram('no-such-program-at-all')).toBeUndefined()
})

import { median } from '../cpu.ts'
import type { Sample } from './sample.ts'

/** Milliseconds, each with the moment at which it was measured. */
export interface Latency {
  atMs: number
  ms: number
}

export interface Finding {
  what: string
  /** In the first third and in the last, as a person reads it. */
  first: string
  last: string
  bound: string
  flat: boolean
}

export interface SoakFacts {
  samples: readonly Sample[]
  latencies: Readonly<Record<string, readonly Latency[]>>
  /** Work done, updates and renewals, and what the database grew by, of each whole cycle. */
  cycles: readonly { work: number; grownBytes: number }[]
}

const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`

export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? 0
}

/** The first and the last third of what was measured at moments. */
function thirds<T extends { atMs: number }>(values: readonly T[]): [T[], T[]] {
  const from = values[0]?.atMs ?? 0
  const third = ((values.at(-1)?.atMs ?? 0) - from) / 3
  return [
    values.filter(({ atMs }) => atMs <= from + third),
    values.filter(({ atMs }) => atMs >= from + 2 * third),
  ]
}

/**
 * Is the server at the end as it was at the beginning? Both thirds hold whole cycles of the same work, so what grew, leaks. Memory may
 * grow by 15 %, and by 16 MB whatever its size: the heap's floor is what remains after collections, so the least of each third counts.
 * Handles may differ by ten (pools breathe); latencies by two times at p99, for the machine is shared. The database grows with
 * what is done, for history is kept: by the same for each update or renewal.
 */
export function judgeSoak({ samples, latencies, cycles }: SoakFacts): Finding[] {
  const [first, last] = thirds(samples)
  const grown = (
    what: string,
    of: (samples: readonly Sample[]) => number,
    slack: { times: number; plus: number },
    say: (value: number) => string,
  ): Finding => {
    const [before, after] = [of(first), of(last)]
    const bound = before * slack.times + slack.plus
    return {
      what,
      first: say(before),
      last: say(after),
      bound: `≤ ${say(bound)}`,
      flat: Number.isFinite(after) && first.length > 0 && after <= bound,
    }
  }
  const memory = { times: 1.15, plus: 16e6 }
  return [
    grown('heap, least', (all) => Math.min(...all.map(({ heapBytes }) => heapBytes)), memory, mb),
    grown(
      'resident memory, median',
      (all) => median(all.map((one) => one.residentBytes)),
      memory,
      mb,
    ),
    grown(
      'handles beside devices, median',
      (all) => median(all.map((one) => one.handles)),
      { times: 1, plus: 10 },
      String,
    ),
    grown(
      'event loop p99, median',
      (all) => median(all.map((one) => one.eventLoopP99Ms)),
      { times: 2, plus: 10 },
      (ms) => `${ms.toFixed(0)} ms`,
    ),
    ...Object.entries(latencies).flatMap(([name, values]) => judgeLatency(name, values)),
    ...judgeGrowth(cycles),
  ]
}

function judgeLatency(name: string, values: readonly Latency[]): Finding[] {
  const [first, last] = thirds(values)
  return [50, 99].map((percent) => {
    const [before, after] = [first, last].map((all) =>
      percentile(
        all.map(({ ms }) => ms),
        percent,
      ),
    )
    const bound = (before ?? 0) * 2 + 5
    return {
      what: `${name}, p${percent}`,
      first: `${before?.toFixed(1)} ms`,
      last: `${after?.toFixed(1)} ms`,
      bound: `≤ ${bound.toFixed(1)} ms`,
      flat: first.length > 0 && last.length > 0 && (after ?? Infinity) <= bound,
    }
  })
}

function judgeGrowth(cycles: SoakFacts['cycles']): Finding[] {
  const [first, last] = [cycles[0], cycles.at(-1)]
  if (!first || !last || cycles.length < 2) return []
  const [before, after] = [first, last].map(
    ({ work, grownBytes }) => grownBytes / Math.max(1, work),
  )
  const bound = (before ?? 0) * 1.3 + 500
  return [
    {
      what: 'database, growth for each update or renewal',
      first: `${((before ?? 0) / 1e3).toFixed(1)} kB`,
      last: `${((after ?? 0) / 1e3).toFixed(1)} kB`,
      bound: `≤ ${(bound / 1e3).toFixed(1)} kB`,
      flat: (after ?? Infinity) <= bound,
    },
  ]
}

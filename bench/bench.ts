import type { BudgetKey } from './budgets.ts'
import type { Peer } from './peers.ts'
import type { Row } from './row.ts'

/** One measurement of `npm run bench`; a file of its own, listed in `benches.ts`. */
export interface Bench {
  /** As it is chosen on the command line. */
  name: string
  /** The heading of its rows. */
  title: string
  /** What it gives a row for, whatever happens. Those with none are left out of `--quick`. */
  budgets: readonly BudgetKey[]
  run: (env: Env) => Promise<Row[]>
}

/** What a bench is given. */
export interface Env {
  /** How often each figure is taken, interleaved with its peers'. */
  rounds: number
  /** All benches that have a budget, in less than two minutes together. Also true for `smoke`. */
  quick: boolean
  /** Only whether it works: some connections, one round. The figures mean nothing. */
  smoke: boolean
  /** One of three, by how much time there is. */
  pick: <T>(full: T, quick: T, smoke: T) => T
  /** Progress, for people. */
  say: (line: string) => void
  /** An empty database of a PostgreSQL that all benches of the run share. Its `fsync` is off. */
  database: () => Promise<BenchDatabase>
  /** The program, or undefined when it is not installed or left out by `--without`. */
  peer: (name: Peer) => string | undefined
}

export interface BenchDatabase {
  url: string
  /** Of the first process of PostgreSQL; those that serve the connections are its children. */
  pid: number
  /** All of PostgreSQL stands still, for every database of the run. Returns what lets it go on. */
  stall: () => () => void
}

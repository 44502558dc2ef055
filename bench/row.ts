import { type BudgetKey, isMet, targetOf } from './budgets.ts'
import { median } from './cpu.ts'

/** One line of `npm run bench`: what was measured, the figure, and what it should be. */
export interface Row {
  what: string
  /** Ours, or the ratio itself where nothing else was measured. */
  figure: string
  /** Empty for a figure that only stands beside another. */
  target: string
  met: boolean | undefined
  /** The figure of what does the same, and what that is. */
  beside?: string
  ratio?: number
  /** Of the ratio, or of the figure when there is none: least and most of the rounds. */
  spread?: Spread
  budget?: BudgetKey
  /** Why nothing was measured. */
  missing?: string
}

export interface Spread {
  least: number
  most: number
}

export function ratio(what: string, ours: number, peer: number, limit: number): Row {
  const value = ours / peer
  return { what, figure: value.toFixed(2), target: `≤ ${limit}`, met: value <= limit }
}

export function plain(what: string, figure: string): Row {
  return { what, figure, target: '', met: undefined }
}

export interface Unit {
  unit: string
  /** After the point. */
  digits?: number
}

/**
 * Ours beside a peer or a floor: one value of each for every round, in order. The ratio is the median of the rounds' ratios, so that
 * what disturbed a whole round disturbs it little.
 */
export function beside(
  what: string,
  values: Unit & {
    ours: readonly number[]
    peer: readonly number[]
    /** What `peer` is: `mosquitto`. */
    name: string
    budget?: BudgetKey
  },
): Row {
  const { ours, peer, name, budget } = values
  if (ours.length === 0 || ours.length !== peer.length) {
    throw new Error(`${what}: ${ours.length} rounds of ours beside ${peer.length} of ${name}`)
  }
  const ratios = ours.map((value, round) => value / (peer[round] ?? Number.NaN))
  const value = median(ratios)
  return {
    ...plain(what, formatted(median(ours), values)),
    beside: `${name} ${formatted(median(peer), values)}`,
    ratio: value,
    ...spreadOf(ratios),
    ...judged(budget, value),
  }
}

/** A figure for itself: one value for each round, the median counts. */
export function figure(
  what: string,
  values: Unit & { values: readonly number[]; budget?: BudgetKey },
): Row {
  const value = median(values.values)
  return {
    ...plain(what, formatted(value, values)),
    ...spreadOf(values.values),
    ...judged(values.budget, value),
  }
}

/** A budget that this run could not measure, and why. */
export function missing(what: string, budget: BudgetKey, reason: string): Row {
  return { ...plain(what, ''), target: targetOf(budget), budget, missing: reason }
}

function judged(budget: BudgetKey | undefined, value: number): Partial<Row> {
  if (budget === undefined) return {}
  return { budget, target: targetOf(budget), met: isMet(budget, value) }
}

function spreadOf(values: readonly number[]): Partial<Row> {
  return values.length < 2
    ? {}
    : { spread: { least: Math.min(...values), most: Math.max(...values) } }
}

function formatted(value: number, { unit, digits = 2 }: Unit): string {
  return `${value.toFixed(digits)} ${unit}`.trim()
}

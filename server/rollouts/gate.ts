/** The decisions of the rollout worker (rollouts.md §5 and §7), as pure functions of what was counted. */

/** Deployments of a phase, or of a rollout, that ended with a verdict. */
export interface Verdicts {
  succeeded: number
  /** `failed_final`, `rolled_back` and `lost`. */
  failed: number
}

export interface Gate {
  /** Of the executed deployments, in percent. */
  successPercent: number
  minExecuted: number
  /** A person has to open the next phase, even when the gate is met. */
  hold: boolean
}

/** What an open phase waits for: more devices to end, a better share, a person; `nothing` means go on. */
export type WaitsFor = 'executed' | 'share' | 'hold' | 'nothing'

export function judgePhase({ succeeded, failed }: Verdicts, gate: Gate): WaitsFor {
  const executed = succeeded + failed
  if (executed < Math.max(1, gate.minExecuted)) return 'executed'
  if (succeeded * 100 < gate.successPercent * executed) return 'share'
  return gate.hold ? 'hold' : 'nothing'
}

/** One-sided 95 %. */
const z = 1.6449
const tolerated = 0.05
const fewest = 3

/**
 * Why a rollout has to stop by itself, or undefined. The two built-in rules of rollouts.md §7: the first three devices all
 * failed; or at least three failed and, with 95 % confidence, more than 5 % of all would (Wilson's lower bound).
 */
export function reasonToStop({ succeeded, failed }: Verdicts): string | undefined {
  const executed = succeeded + failed
  if (failed < fewest) return undefined
  if (succeeded === 0) return `All of the first ${executed} devices failed`
  const lowest = wilsonLowerBound(failed, executed)
  if (lowest <= tolerated) return undefined
  return `${failed} of ${executed} devices failed: that is above ${tolerated * 100} % with 95 % confidence`
}

/** The lower end of Wilson's score interval for the share `hits / of`, one-sided at 95 %. */
export function wilsonLowerBound(hits: number, of: number): number {
  const share = hits / of
  const center = share + z ** 2 / (2 * of)
  const margin = z * Math.sqrt((share * (1 - share)) / of + z ** 2 / (4 * of ** 2))
  return (center - margin) / (1 + z ** 2 / of)
}

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
  /** So long it has to stay met before the next phase opens. */
  soakMs?: number
  /** Of the devices that were met, in percent: how many owners may have put it off or want none of it. */
  maxPutOff?: number | null
  /** So long after it was opened the fewest devices must be executed; else it is a person's turn. */
  withinMs?: number | null
}

/** What a phase knows beside its verdicts. */
export interface GateFacts {
  /** Absent when only what the worker wrote down counts. */
  now?: Date
  openedAt: Date | null
  /** Since when the gate is met, all but the soak. */
  metAt: Date | null
  /** Since when it is a person's turn: too few devices came, or the soak of a phase with `hold` is over. */
  heldAt: Date | null
  met: number
  /** `postponed` and `opted_out`. */
  putOff: number
}

/**
 * What an open phase waits for: more devices to end, a person because too few did, a better share, owners, time, a person;
 * `nothing` means go on.
 */
export type WaitsFor = 'executed' | 'contacts' | 'share' | 'choices' | 'soak' | 'hold' | 'nothing'

export function judgePhase(verdicts: Verdicts, gate: Gate, facts?: GateFacts): WaitsFor {
  const unmet = unmetPart(verdicts, gate, facts)
  if (unmet) return unmet
  if (facts?.heldAt) return 'hold'
  const end = soakEnd(gate, facts)
  if (end && !(facts?.now && facts.now >= end)) return 'soak'
  return gate.hold ? 'hold' : 'nothing'
}

/** Of the gate, time and people left out. */
export function unmetPart(
  { succeeded, failed }: Verdicts,
  gate: Gate,
  facts?: GateFacts,
): 'executed' | 'contacts' | 'share' | 'choices' | undefined {
  const executed = succeeded + failed
  if (executed < Math.max(1, gate.minExecuted))
    return isTooLate(gate, facts) ? 'contacts' : 'executed'
  if (succeeded * 100 < gate.successPercent * executed) return 'share'
  const { maxPutOff = null } = gate
  if (maxPutOff === null || !facts) return undefined
  return facts.putOff * 100 > maxPutOff * facts.met ? 'choices' : undefined
}

function isTooLate({ withinMs = null }: Gate, facts?: GateFacts): boolean {
  if (facts?.heldAt) return true
  if (withinMs === null || !facts?.openedAt || !facts.now) return false
  return facts.now.getTime() >= facts.openedAt.getTime() + withinMs
}

/** Until when the gate has to stay met, or undefined without a soak; the end of time while it is not met. */
export function soakEnd({ soakMs = 0 }: Gate, facts?: GateFacts): Date | undefined {
  if (soakMs === 0) return undefined
  return new Date(facts?.metAt ? facts.metAt.getTime() + soakMs : endOfTime)
}

const endOfTime = 8.64e15

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

import { isUnusual } from './abort-sequential.ts'
import {
  type Abort,
  type AbortAction,
  AbortBody,
  type AbortKind,
  type AbortRule,
} from './abort-wire.ts'
import { reasonToStop } from './gate.ts'

/** How many devices came to what since a person last started or resumed the rollout. */
export type Outcomes = Partial<Record<'succeeded' | AbortKind, number>>

export interface Judged {
  /** Of the open phase. */
  phase: Outcomes
  /** Of all phases. */
  all: Outcomes
  /** By phases that never met more than `smallPhase` devices: the most that went dark in one of them. */
  darkInSmall: number
  /** The fleet's usual share of failures; null where there is no comparison. */
  usual: number | null
}

/** Why a rollout has to stop by itself, and how. */
export interface Hit {
  action: AbortAction
  reason: string
}

/** As it is stored; what cannot be read counts as no rules of one's own, so that the built-in ones hold. */
export function abortOf(stored: unknown): Abort {
  const parsed = AbortBody.safeParse(stored)
  return parsed.success ? parsed.data : { defaults: true, rules: [] }
}

/** The first rule that is hit: a person's own in their order, then the built-in ones. */
export function firstHit({ defaults, rules }: Abort, judged: Judged): Hit | undefined {
  for (const rule of rules) {
    const reason = hitBy(rule, rule.scope === 'phase' ? judged.phase : judged.all)
    if (reason !== undefined) return { action: rule.action, reason }
  }
  const reason = defaults ? builtIn(judged) : undefined
  return reason === undefined ? undefined : { action: 'pause', reason }
}

function hitBy(rule: AbortRule, outcomes: Outcomes): string | undefined {
  const { hits, of } = countedBy(rule, outcomes)
  if (of < rule.minExecuted || hits * 100 < rule.percent * of) return undefined
  const where = rule.scope === 'phase' ? ' of the phase' : ''
  return `${hits} of ${of} devices${where} ${words(rule.kinds)}: the limit is ${rule.percent} %`
}

/** A device counts once: what is a part of another kind that is named too adds nothing. */
function countedBy({ kinds }: AbortRule, outcomes: Outcomes): { hits: number; of: number } {
  const distinct = kinds.filter((kind) => {
    const whole = partOf[kind]
    return whole === undefined || !kinds.includes(whole)
  })
  const hits = distinct.reduce((sum, kind) => sum + (outcomes[kind] ?? 0), 0)
  const { succeeded, failed } = executedIn(outcomes)
  const decided = kinds.includes('opted_out') ? (outcomes.opted_out ?? 0) : 0
  return { hits, of: succeeded + failed + decided }
}

const partOf: Partial<Record<AbortKind, AbortKind>> = {
  timeout: 'lost',
  dark: 'lost',
  rejected: 'failed_final',
}

function words(kinds: readonly AbortKind[]): string {
  return kinds.map((kind) => said[kind]).join(' or ')
}

const said: Readonly<Record<AbortKind, string>> = {
  failed_final: 'failed',
  rolled_back: 'rolled back',
  lost: 'were lost',
  timeout: 'came to no end in time',
  dark: 'went dark',
  rejected: 'refused it',
  opted_out: 'were opted out by their owners',
}

export function executedIn(outcomes: Outcomes): { succeeded: number; failed: number } {
  const { succeeded = 0, failed_final = 0, rolled_back = 0, lost = 0 } = outcomes
  return { succeeded, failed: failed_final + rolled_back + lost }
}

/** So small a phase has no share to speak of: one device that is gone is told to a person. */
export const smallPhase = 20

/** The built-in rules of rollouts.md §7; the last one is what is fast where failures are few and many devices are met. */
function builtIn({ all, darkInSmall, usual }: Judged): string | undefined {
  const verdicts = executedIn(all)
  const reason = reasonToStop(verdicts)
  if (reason !== undefined) return reason
  if (darkInSmall > 0) {
    const devices = darkInSmall === 1 ? 'A device' : `${darkInSmall} devices`
    return `${devices} went dark in a phase of no more than ${smallPhase}`
  }
  if (usual === null || !isUnusual(verdicts, usual)) return undefined
  const { succeeded, failed } = verdicts
  return `${failed} of ${succeeded + failed} devices failed, where ${percent(usual)} % usually do`
}

function percent(share: number): number {
  return Math.round(share * 1_000) / 10
}

/** At how many failures of so many executed devices each rule would stop; null: none of them would. For a preview. */
export function failuresToStop(
  { defaults, rules }: Abort,
  executed: number,
  usual: number | null,
): { rule: AbortRule | 'built-in'; failures: number | null }[] {
  const own = rules.map((rule) => ({
    rule,
    failures: fewest(executed, rule.kinds[0] ?? 'failed_final', (outcomes) => {
      return hitBy(rule, outcomes) !== undefined
    }),
  }))
  const none = { phase: {}, darkInSmall: 0, usual }
  const failures = fewest(
    executed,
    'failed_final',
    (all) => builtIn({ ...none, all }) !== undefined,
  )
  return defaults ? [...own, { rule: 'built-in', failures }] : own
}

/** The more fail the sooner it stops, so the least number that does is found by halving. */
function fewest(
  executed: number,
  kind: AbortKind,
  stops: (outcomes: Outcomes) => boolean,
): number | null {
  const isStopped = (n: number) =>
    stops({ succeeded: executed - n, [partOf[kind] ?? kind]: n, [kind]: n })
  if (executed === 0 || !isStopped(executed)) return null
  let [below, at] = [0, executed]
  while (at - below > 1) {
    const middle = Math.floor((below + at) / 2)
    if (isStopped(middle)) at = middle
    else below = middle
  }
  return at
}

import { storableInstant } from '../db/storable.ts'
import { type PolicyFacts, policyFor } from '../director/policy.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import type { UpdateChoice } from '../protocol/messages.ts'
import { choiceLegs, stepsOf } from './steps.ts'
import type { Deployment, Step } from './store.ts'

/** How often and how long an owner may postpone (updates.md §7.2). */
export interface PostponeLimits {
  eachHours: number
  maxCount: number
  totalHours: number
}

/** What the release, its rollout and the device say, as the director reads them. */
export interface PolicyRow {
  release_class: PolicyFacts['class']
  release_advisory: unknown
  rollout_policy: unknown
  model_policy: unknown
  managed: boolean
}

/** Features are free: bounded only so that one deployment's history stays bounded. */
const free: PostponeLimits = { eachHours: 24 * 365, maxCount: 200, totalHours: 24 * 365 * 10 }
const none: PostponeLimits = { eachHours: 0, maxCount: 0, totalHours: 0 }

/** The limits that the director signs into the device's targets, and the device keeps. */
export function postponeLimitsOf(row: PolicyRow): PostponeLimits {
  const { postpone } = policyFor({
    class: row.release_class,
    advisory: row.release_advisory,
    managed: row.managed,
    rollout: row.rollout_policy,
    model: row.model_policy,
  })
  if (!postpone) return row.release_class === 'feature' ? free : none
  const { eachH, maxCount, totalH } = postpone
  return { eachHours: eachH, maxCount, totalHours: totalH }
}

export interface ChoiceJudgement {
  after: Deployment
  steps: Step[]
  /** `applied`, or `refused: why`; undefined when the message is a repetition, or says what is so already. */
  outcome: string | undefined
}

const targets = {
  accept: 'accepted',
  postpone: 'postponed',
  optOut: 'opted_out',
  optIn: 'offered',
} as const satisfies Record<UpdateChoice['choice'], DeploymentState>

/** What an owner's choice means for one deployment. Pure. A refusal says which limit it met. */
export function judgeChoice(
  before: Deployment,
  limits: PostponeLimits,
  choice: UpdateChoice,
  now: Date,
): ChoiceJudgement {
  const to = targets[choice.choice]
  const until = storableInstant(choice.until) ?? null
  const unchanged = { after: before, steps: [], outcome: undefined }
  if (before.state === to && to !== 'postponed') return unchanged
  const legs = choiceLegs(before.state, to)
  if (legs.length === 0) {
    // An owner who opts in or out for good may do so at any time; there is nothing here to be moved.
    if (choice.choice === 'optOut' || choice.choice === 'optIn') return unchanged
    return { ...unchanged, outcome: `refused: the update is ${before.state}` }
  }
  if (to === 'postponed') {
    const met = limitMet(before, limits, until, now)
    if (met) return { ...unchanged, outcome: `refused: ${met}` }
  }
  const isOffered = legs.some((leg) => leg.to === 'offered')
  return {
    after: {
      ...before,
      state: to,
      first_offered_at: before.first_offered_at ?? (isOffered ? now : null),
      postponed_until: to === 'postponed' ? until : null,
      postpone_count: before.postpone_count + (to === 'postponed' ? 1 : 0),
    },
    steps: stepsOf(legs, { code: null, detail: null, reported_at: null }),
    outcome: 'applied',
  }
}

const hourMs = 3_600_000
/** A device's clock may be this far ahead of ours. */
const toleranceMs = 300_000

function limitMet(
  { postpone_count, first_offered_at }: Deployment,
  { eachHours, maxCount, totalHours }: PostponeLimits,
  until: Date | null,
  now: Date,
): string | undefined {
  if (maxCount === 0) return 'this kind of update cannot be postponed'
  if (until === null) return 'no date was given'
  if (postpone_count >= maxCount) return `postponed ${maxCount} times already`
  const latest = now.getTime() + eachHours * hourMs + toleranceMs
  if (until.getTime() > latest) return `at most ${eachHours} hours at a time`
  const offered = (first_offered_at ?? now).getTime()
  const deadline = offered + totalHours * hourMs + toleranceMs
  if (until.getTime() > deadline) return `at most ${totalHours} hours in all`
  return undefined
}

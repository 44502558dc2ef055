import { storableInstant } from '../db/storable.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import type { Choice } from '../protocol/messages.ts'
import { choiceLegs, stepsOf } from './steps.ts'
import type { Deployment, Step } from './store.ts'

/** How often and how long an owner may postpone (updates.md §7.2). */
export interface PostponeLimits {
  eachHours: number
  maxCount: number
  totalHours: number
}

export type ReleaseClass = 'security' | 'feature' | 'config'

/** Free means: bounded only so that one deployment's history stays bounded. */
const free: PostponeLimits = { eachHours: 24 * 365, maxCount: 200, totalHours: 24 * 365 * 10 }
const none: PostponeLimits = { eachHours: 0, maxCount: 0, totalHours: 0 }

/** The defaults of updates.md §7.2, which the director signs into the device's targets. */
export const postponeLimits: Readonly<Record<ReleaseClass, PostponeLimits>> = {
  security: { eachHours: 72, maxCount: 5, totalHours: 14 * 24 },
  feature: free,
  config: none,
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
} as const satisfies Record<Choice['choice'], DeploymentState>

/** What an owner's choice means for one deployment. Pure. A refusal says which limit it met. */
export function judgeChoice(
  before: Deployment,
  limits: PostponeLimits,
  choice: Choice,
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

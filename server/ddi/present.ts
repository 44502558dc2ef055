import type { DdiProfile } from '../protocol/ddi.ts'
import type { DeploymentState } from '../protocol/deployment.ts'

export interface Waiting {
  profile: DdiProfile
  /** Of the release's artifact. */
  fileName: string
  state: DeploymentState
  /** May it install without asking its owner? */
  auto: boolean
  /** Of an approved override, or past the owner's deadline. */
  forced: boolean
  postponedUntil: Date | null
  /** Of the last change: retries count from it. */
  changedAt: Date
  attempts: number
  /** The release was withdrawn, or the rollout cancelled, when the deployment was over already. */
  stopped: boolean
  /** The rollout is: who has begun goes on, and nobody else begins. */
  paused: boolean
  /** Of all windows that count for the device (rollouts.md §8): until when nobody begins is known, or null for ever. */
  window: { open: boolean; next: Date | null }
  /** The device runs something newer, and these clients would go back. */
  overtaken: boolean
  /** The device began, or may have: feedback came, or bytes went out. */
  started: boolean
  /** Has the final word of this action come? Then only a new action may follow. */
  closed: boolean
}

/** What a root poll shows. `reason`: why there is no link, in the words of rollouts.md §4; `until`: when there may be one, if that is known. */
export type Shown =
  | { link: 'none'; reason: string; until?: Date }
  | { link: 'deploymentBase'; handling: 'attempt' | 'forced' }
  | { link: 'confirmationBase' }
  | { link: 'cancelAction' }

const firstRetryMs = 15 * 60_000

/**
 * What to show a device for its next deployment (ddi.md §7 and §9). What was started is offered until it is closed, whatever else
 * changed: SWUpdate and Zephyr can report in no other way. What was not started is shown only when the device may install it, because
 * these clients install what they are shown; `skip` is never said.
 */
export function shownFor(waiting: Waiting, now: Date): Shown {
  const { state, started, closed, profile, fileName } = waiting
  // SWUpdate goes by the name, and calls anything else a failed update.
  if (profile === 'swupdate' && !started && !fileName.endsWith('.swu')) {
    return { link: 'none', reason: 'no-artifact' }
  }
  switch (state) {
    case 'cancelled':
    case 'superseded':
    case 'expired':
      return started && !closed ? { link: 'cancelAction' } : { link: 'none', reason: 'ended' }
    case 'queued':
    case 'offered':
    case 'postponed':
      return started && !closed ? offer(waiting) : unstarted(waiting, now)
    case 'opted_out':
      return waiting.forced ? begun(waiting) : { link: 'none', reason: 'opted-out' }
    case 'failed':
      return retry(waiting, now)
    case 'accepted':
    case 'downloading':
    case 'verified':
    case 'waiting_window':
    case 'installing':
    case 'installed':
    case 'rebooting':
    case 'testing':
      return closed ? { link: 'none', reason: 'proof-outstanding' } : begun(waiting)
    case 'lost':
      if (waiting.stopped || waiting.overtaken) {
        return started && !closed ? { link: 'cancelAction' } : { link: 'none', reason: 'ended' }
      }
      return closed ? { link: 'none', reason: 'proof-outstanding' } : offer(waiting)
    case 'succeeded':
    case 'rolled_back':
    case 'failed_final':
      return { link: 'none', reason: 'ended' }
  }
}

function offer({ forced }: Waiting): Shown {
  return { link: 'deploymentBase', handling: forced ? 'forced' : 'attempt' }
}

/** Agreed to, and perhaps not begun yet. */
function begun(waiting: Waiting): Shown {
  return (waiting.started ? undefined : withheld(waiting)) ?? offer(waiting)
}

/** From who has not begun, whatever the owner wants. */
function withheld({ overtaken, paused, window }: Waiting): Shown | undefined {
  if (overtaken) return { link: 'none', reason: 'overtaken' }
  if (paused) return { link: 'none', reason: 'rollout-paused' }
  return outsideOf(window)
}

function outsideOf({ open, next }: Waiting['window']): Shown | undefined {
  if (open) return undefined
  return { link: 'none', reason: 'out-of-window', ...(next && { until: next }) }
}

function unstarted(waiting: Waiting, now: Date): Shown {
  const no = withheld(waiting)
  if (no) return no
  if (waiting.forced) return offer(waiting)
  const { postponedUntil } = waiting
  if (waiting.state === 'postponed' && postponedUntil !== null && postponedUntil > now) {
    return { link: 'none', reason: 'postponed', until: postponedUntil }
  }
  if (waiting.auto) return offer(waiting)
  // Only a generic client can ask its owner through this interface; for the others somebody asks elsewhere.
  return waiting.profile === 'generic'
    ? { link: 'confirmationBase' }
    : { link: 'none', reason: 'consent-needed' }
}

/** A try that failed is followed by another under a new id, after pauses that double. */
function retry(waiting: Waiting, now: Date): Shown {
  const { attempts, changedAt, forced, overtaken } = waiting
  if (overtaken) return { link: 'none', reason: 'overtaken' }
  const pauseMs = firstRetryMs * 2 ** Math.max(0, Math.min(attempts, 10) - 1)
  const until = new Date(changedAt.getTime() + pauseMs)
  if (now < until) return { link: 'none', reason: 'retry-later', until }
  return (
    outsideOf(waiting.window) ?? {
      link: 'deploymentBase',
      handling: forced ? 'forced' : 'attempt',
    }
  )
}

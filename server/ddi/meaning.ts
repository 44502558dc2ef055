import type { DdiProfile } from '../protocol/ddi.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import type { Feedback } from './feedback.ts'

/** What a feedback means for the deployment, and for the action it was about. */
export interface Meaning {
  /** The report that the device makes by it, if any. */
  report?: {
    state: DeploymentState
    code?: string
    detail?: string
    progress?: number
  }
  /** The device has had its last word about this action. */
  closes: boolean
  /** A security event: our offer was wrong, or the device did what it was not asked to. */
  event?: 'ddi-skipped' | 'ddi-success-without-start'
  /** The device says that it runs the new image; what proves it comes later. */
  claims: boolean
}

/** Texts of clients that mean more than their words for it (ddi.md §4). */
const skipped = 'Skipped Update.'
const allInstalled = 'All Chunks Installed.'
const failedAfterReboot = 'Update Failed.'

/**
 * Feedback about a deployment (ddi.md §10). Pure. `closed` with success never means `succeeded`: it is a claim, made before the
 * reboot by RAUC's client and after it by the others, and the image that runs has to show itself.
 */
export function meaningOf(
  feedback: Feedback,
  { profile, started }: { profile: DdiProfile; started: boolean },
): Meaning {
  const { execution, details } = feedback
  switch (execution) {
    case 'proceeding':
    case 'resumed':
    case 'download':
      return has(details, allInstalled) ? running('installed') : running('downloading', feedback)
    case 'downloaded':
      return running('verified')
    case 'scheduled':
    case 'canceled':
      // Whoever cancels by itself, without being asked, has not installed: another try follows.
      return execution === 'canceled'
        ? closing({ state: 'failed', code: 'cancelled-by-device', ...detailOf(details) })
        : { closes: false, claims: false }
    case 'rejected':
      return closing({ state: 'failed', code: 'declined', ...detailOf(details) })
    case 'closed':
      return closedBy(feedback, profile, started)
  }
}

function closedBy({ finished, details }: Feedback, profile: DdiProfile, started: boolean): Meaning {
  if (has(details, skipped)) {
    return { ...closing({ state: 'failed', code: 'skipped' }), event: 'ddi-skipped' }
  }
  if (finished === 'failure') {
    const isAfterReboot = has(details, failedAfterReboot)
    const state = isAfterReboot ? ('rolled_back' as const) : ('failed' as const)
    return closing({ state, code: 'device-reported', ...detailOf(details) })
  }
  const state = profile === 'rauc' ? ('installed' as const) : ('testing' as const)
  return {
    report: { state },
    closes: true,
    claims: true,
    ...(started ? {} : { event: 'ddi-success-without-start' as const }),
  }
}

function running(state: DeploymentState, feedback?: Feedback): Meaning {
  const progress = feedback?.progress
  return {
    report: { state, ...(progress === undefined ? {} : { progress }) },
    closes: false,
    claims: false,
  }
}

function closing(report: NonNullable<Meaning['report']>): Meaning {
  return { report, closes: true, claims: false }
}

function has(details: readonly string[], text: string): boolean {
  return details.some((one) => one.includes(text))
}

/** The last words, as far as a history keeps them. */
function detailOf(details: readonly string[]): { detail?: string } {
  const detail = details.slice(-5).join(' · ').slice(0, 500)
  return detail === '' ? {} : { detail }
}

export type CancelMeaning = 'accepted' | 'refused' | 'open'

/** Feedback about a cancellation (ddi.md §10): Zephyr and RAUC refuse when they install already. */
export function cancelMeaningOf({ execution, finished }: Feedback): CancelMeaning {
  if (execution === 'rejected') return 'refused'
  if (execution !== 'closed') return 'open'
  return finished === 'failure' ? 'refused' : 'accepted'
}

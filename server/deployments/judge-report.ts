import { storable, storableInstant } from '../db/storable.ts'
import type { SecurityEvent } from '../events/record.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import { isAttackCode, isFinalCode, maxAttempts } from './codes.ts'
import type { CheckedReport } from './report-proof.ts'
import { isOpen, type Leg, reportedLegs, stepsOf } from './steps.ts'
import type { Deployment, Proof, Step } from './store.ts'

/** What the server knows beside the deployment itself. */
export interface ReportFacts {
  /** What was recorded before, to tell a message that came twice or late. */
  history: readonly Pick<Step, 'to_state' | 'reported_at'>[]
  /** Of the release's artifact. */
  artifactSha256: string
  /** What the device last said in `hello` that it runs for this component. */
  installedSha256: string | null
  /** The device has another open deployment of this component. */
  busy: boolean
  /** Two people decided over the owner of this managed device. */
  overridden?: boolean
}

export interface Judgement {
  /** The deployment afterwards; the one given when nothing changes. */
  after: Deployment
  /** Empty with a changed `after`: progress, which is not history. */
  steps: Step[]
  changed: boolean
  event?: Pick<SecurityEvent, 'source' | 'kind' | 'severity' | 'facts'>
  /** The device waits for the commit nonce (updates.md §7.3). */
  sendCommit: boolean
}

/** What a pure function cannot make: the time, and the commit nonce for a device that comes to `testing`. */
export interface Given {
  now: Date
  newNonce: string
}

/**
 * What a device's report means for its deployment (updates.md §7.1, rollouts.md §12). Pure. A claim of success counts only with proof; a report that is not a legal move changes nothing.
 */
export function judgeReport(
  before: Deployment,
  facts: ReportFacts,
  report: CheckedReport,
  given: Given,
): Judgement {
  const reportedAt = storableInstant(report.at) ?? null
  if (isRepeated(facts, report.state, reportedAt)) return unchanged(before, report)
  const taken = reportedLegs(before.state, report.state, facts.overridden)
  if (taken.length === 0) {
    if (isKnown(before, facts, report.state)) return unchanged(before, report)
    return refused(before, report, 'illegal-report')
  }
  if (before.state === 'lost' && facts.busy && isOpen(report.state)) {
    return refused(before, report, 'illegal-report')
  }
  if (report.state === 'succeeded' && !isProven(before, facts, report)) {
    return withoutProof(before, facts, report, taken, given)
  }
  return moved(before, report, taken, reportedAt, given)
}

function moved(
  before: Deployment,
  report: CheckedReport,
  taken: readonly Leg[],
  reportedAt: Date | null,
  given: Given,
): Judgement {
  const { state } = report
  const bad = state === 'failed' || state === 'failed_final' || state === 'rolled_back'
  const code = bad ? (report.code ?? null) : null
  const detail = bad && report.detail !== undefined ? storable(report.detail) : null
  // Progress inside a download is no history: it would have no limit.
  const isProgress = before.state === state
  const steps = isProgress
    ? []
    : stepsOf(taken, { code, detail, reported_at: reportedAt, ...proofOf(report) })
  const attempts = before.attempts + (state === 'failed' ? 1 : 0)
  const isOver = state === 'failed' && (attempts >= maxAttempts || isFinalCode(code))
  if (isOver)
    steps.push(...stepsOf([{ from: 'failed', to: 'failed_final', by: 'engine' }], noWords))
  const after: Deployment = {
    ...before,
    state: isOver ? 'failed_final' : state,
    attempts,
    code,
    detail,
    progress: state === 'downloading' ? (report.progress ?? before.progress) : null,
    commit_nonce: before.commit_nonce ?? (passes(steps, 'testing') ? given.newNonce : null),
    first_offered_at: before.first_offered_at ?? (passes(steps, 'offered') ? given.now : null),
    postponed_until: state === 'offered' ? null : before.postponed_until,
  }
  const attacked = isAttackCode(code) && isEnded(after.state)
  return {
    after,
    steps,
    changed: true,
    sendCommit: after.state === 'testing',
    ...(attacked
      ? {
          event: {
            ...said(before, report),
            source: 'device' as const,
            kind: 'update-refused',
            severity: 'warning' as const,
          },
        }
      : correctionOf(before, after, report)),
  }
}

/** It was counted as lost, and is not: whoever decided by that count is told. */
function correctionOf(
  before: Deployment,
  { state }: Deployment,
  report: CheckedReport,
): Pick<Judgement, 'event'> {
  if (before.state !== 'lost') return {}
  const facts = { ...said(before, report).facts, was: before.code, now: state }
  return { event: { facts, source: 'server', kind: 'outcome-corrected', severity: 'warning' } }
}

function proofOf({ proof, provenBy }: CheckedReport): Partial<Proof> {
  if (proof === undefined || provenBy === undefined) return {}
  return { proof, proof_certificate: provenBy }
}

function passes(steps: readonly Step[], state: DeploymentState): boolean {
  return steps.some((step) => step.to_state === state)
}

const noWords = { code: null, detail: null, reported_at: null }

function isEnded(state: DeploymentState): boolean {
  return !isOpen(state)
}

/** The very message was stored before: QoS 1 delivers at least once. */
function isRepeated(facts: ReportFacts, state: DeploymentState, reportedAt: Date | null): boolean {
  if (reportedAt === null) return false
  const at = reportedAt.getTime()
  return facts.history.some((past) => past.to_state === state && past.reported_at?.getTime() === at)
}

/** Late, out of order, or said again in other words: true once, and no news. */
function isKnown(before: Deployment, facts: ReportFacts, state: DeploymentState): boolean {
  return before.state === state || facts.history.some((past) => past.to_state === state)
}

/** rollouts.md §12: a new mTLS contact whose `hello` shows the release's image, and the server's nonce brought back. */
function isProven(before: Deployment, facts: ReportFacts, report: CheckedReport): boolean {
  return (
    before.commit_nonce !== null &&
    report.commitNonce === before.commit_nonce &&
    report.sha256 === facts.artifactSha256 &&
    facts.installedSha256 === facts.artifactSha256
  )
}

/** A claim alone proves nothing: the device may be testing at most, and is told how to prove itself. */
function withoutProof(
  before: Deployment,
  facts: ReportFacts,
  report: CheckedReport,
  taken: readonly Leg[],
  given: Given,
): Judgement {
  const hasNonce = report.commitNonce !== undefined && report.commitNonce === before.commit_nonce
  const event = {
    source: 'server' as const,
    kind: 'false-success',
    severity: 'warning' as const,
    facts: {
      ...said(before, report).facts,
      nonce: hasNonce,
      image: report.sha256 === facts.artifactSha256,
      seen: facts.installedSha256 === facts.artifactSha256,
    },
  }
  // Who has the nonce and still shows another image would only say the same again: it is asked at its next hello.
  if (before.state === 'testing') {
    return { ...unchanged(before, report), sendCommit: !hasNonce, event }
  }
  const untilTesting =
    before.state === 'lost' ? reportedLegs('lost', 'testing') : taken.slice(0, -1)
  if (untilTesting.length === 0 || (before.state === 'lost' && facts.busy)) {
    return { ...unchanged(before, report), event }
  }
  return {
    ...moved(
      before,
      // What it signed says something else.
      { ...report, state: 'testing', provenBy: undefined },
      untilTesting,
      null,
      given,
    ),
    event,
  }
}

function unchanged(before: Deployment, report: CheckedReport): Judgement {
  const sendCommit = before.state === 'testing' && report.state === 'testing'
  return { after: before, steps: [], changed: false, sendCommit }
}

function refused(before: Deployment, report: CheckedReport, kind: string): Judgement {
  // The device may not have heard yet that the operator or the engine ended it; anything else is odd.
  const ended = ['cancelled', 'superseded', 'expired'].includes(before.state)
  const severity = ended ? ('info' as const) : ('warning' as const)
  return {
    ...unchanged(before, report),
    event: { ...said(before, report), source: 'server', kind, severity },
  }
}

function said(before: Deployment, report: CheckedReport) {
  const { id, state } = before
  return { facts: { deploymentId: id, state, reported: report.state, code: report.code ?? null } }
}

import { unstartedStates } from '../deployments/admit.ts'
import { leavesLine } from '../protocol/version-line.ts'
import type { Wanted } from './bounds.ts'
import { bucketOf, phasesFor } from './bucket.ts'
import type { Candidate, StepRelease } from './meet-store.ts'
import { penaltyOf } from './penalty-box.ts'
import { type ReasonCode, reasonCodes } from './reason-wire.ts'
import { pathTo } from './step-path.ts'
import { windowVerdict } from './window-place.ts'

/** What a decision needs beside the candidate itself. */
export interface Given {
  now: Date
  /** Does the rollout's query find the device? Asked only of candidates with a query. */
  matches: (candidate: Candidate) => boolean
  /** Published releases below the candidate's, where a step is missing. */
  stepsFor: (candidate: Candidate) => readonly StepRelease[]
}

/** Why not, and until when if that is known. */
export interface Refusal {
  code: ReasonCode
  until?: Date
}

/** What was decided about one device and one rollout. */
export type Verdict = { candidate: Candidate } & (
  | { admission: Wanted; refusal?: never }
  | { refusal: Refusal; admission?: never }
)

/** One rollout for each device and component, out of its candidates in order of precedence. */
export function chooseAdmissions(candidates: readonly Candidate[], given: Given): Wanted[] {
  return judge(candidates, given).flatMap(({ admission }) => admission ?? [])
}

/**
 * Every candidate with what is decided about it (rollouts.md §4): the first of a device and component that nothing speaks
 * against is admitted, unless the device is busy with something that must not be replaced. Pure, so that what is told to a
 * person is what happens.
 */
export function judge(candidates: readonly Candidate[], given: Given): Verdict[] {
  const taken = new Set<string>()
  return precedence(candidates).map((candidate): Verdict => {
    const key = `${candidate.device_id} ${candidate.component}`
    const decided = admissionOf(candidate, given)
    if ('code' in decided) return { candidate, refusal: decided }
    if (taken.has(key)) return { candidate, refusal: { code: 'other-rollout' } }
    taken.add(key)
    return { candidate, admission: decided }
  })
}

/** Within a priority a fix that keeps to the device's line before one that would bring features; sorting keeps the order otherwise. */
function precedence(candidates: readonly Candidate[]): Candidate[] {
  return candidates.toSorted(
    (a, b) =>
      Number(b.pass_queue) - Number(a.pass_queue) ||
      b.priority - a.priority ||
      Number(staysOnLine(b)) - Number(staysOnLine(a)),
  )
}

function admissionOf(candidate: Candidate, given: Given): Wanted | Refusal {
  const refusal = refusalOf(candidate, given)
  if (refusal) return refusal
  const offered = nextRelease(candidate, given)
  if (!offered) return { code: 'must-pass-through' }
  const { device_id: deviceId, component, open } = candidate
  if (!mayReplace(candidate, offered)) return { code: 'open-deployment' }
  const { open_phases, begun_phase, seen_at: seenAt, bounded } = candidate
  const bucket = bucketOf(candidate.seed, deviceId)
  const phaseNos =
    begun_phase === null
      ? phasesFor({ bucket, seenAt }, open_phases ?? [], given.now)
      : [begun_phase]
  if (phaseNos.length === 0) return { code: 'not-in-phase' }
  const window = windowVerdict(candidate.windows, bucket, given.now)
  if (!window.open) return { code: 'out-of-window', ...(window.next && { until: window.next }) }
  return {
    rolloutId: candidate.rollout_id,
    deviceId,
    releaseId: offered.id,
    component,
    phaseNos,
    bucket,
    bounded,
    ...(begun_phase === null ? {} : { continues: true as const }),
    ...(offered.id === candidate.release_id ? {} : { isStep: true }),
    ...(open ? { supersedes: open.id } : {}),
  }
}

/** What speaks against it before it is known what would be offered. */
function refusalOf(candidate: Candidate, given: Given): Refusal | undefined {
  const { unfit, expiring, query } = candidate
  if (unfit === 'device-blocked') return { code: 'device-blocked' }
  if (expiring) return { code: 'certificate-expiring' }
  if (query !== null && !given.matches(candidate)) return { code: 'not-targeted' }
  if (unfit !== null) return { code: asReason(unfit) }
  // Going back to what ran before is how a device gets out of it.
  const penalty = candidate.kind === 'rollback' ? undefined : penaltyOf(candidate, given.now)
  return penalty && { code: 'penalty', until: penalty.until }
}

function asReason(code: string): ReasonCode {
  return reasonCodes.find((known) => known === code) ?? 'incompatible'
}

/** The release that the device can install now: the rollout's own, or the first step on the way there. */
function nextRelease(candidate: Candidate, given: Given): StepRelease | undefined {
  const target = targetOf(candidate)
  if (candidate.standing === null) return target
  return pathTo(target, given.stepsFor(candidate), candidate.standing)?.[0]
}

/** The candidate's release as the end of a way there. */
export function targetOf(candidate: Candidate): StepRelease {
  const { component, version, build, svn, min_previous, requires } = candidate
  return {
    id: candidate.release_id,
    component,
    version,
    build,
    svn,
    class: candidate.class,
    min_previous,
    hardware_ids: candidate.release_hardware_ids,
    requires,
  }
}

type Offered = Pick<StepRelease, 'build' | 'class' | 'version'>

/**
 * A newer release takes the place of one that was not started; a started one is never withheld. The two tracks stay apart
 * (updates.md 7.2): nothing but another fix on the device's line takes the place of a fix there, and a fix takes the place
 * of whatever brings features, whichever of the two was made first.
 */
function mayReplace({ open, runs_version }: Candidate, offered: Offered): boolean {
  if (!open) return true
  if (!(unstartedStates as readonly string[]).includes(open.state)) return false
  const isFix = staysOnLine({ ...offered, runs_version })
  const isFixOpen = staysOnLine({ ...open, runs_version })
  return isFix === isFixOpen ? open.build < offered.build : isFix
}

function staysOnLine({
  class: kind,
  version,
  runs_version,
}: Pick<Candidate, 'class' | 'version' | 'runs_version'>): boolean {
  return kind === 'security' && (runs_version === null || !leavesLine(runs_version, version))
}

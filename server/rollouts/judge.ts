import { type Admission, unstartedStates } from '../deployments/admit.ts'
import { leavesLine } from '../protocol/version-line.ts'
import { bucketOf, phaseOf } from './bucket.ts'
import type { Candidate } from './meet-store.ts'

/**
 * One rollout for each device and component, out of its candidates in order of precedence: the first whose open share holds
 * the device, unless the device is busy with something that must not be replaced.
 */
export function chooseAdmissions(candidates: readonly Candidate[]): Admission[] {
  const chosen = new Map<string, Admission>()
  // A fix that keeps to the device's line before one that would bring features with it; sorting keeps the order otherwise.
  const inOrder = candidates.toSorted((a, b) => Number(staysOnLine(b)) - Number(staysOnLine(a)))
  for (const candidate of inOrder) {
    const { device_id: deviceId, component, open } = candidate
    const key = `${deviceId} ${component}`
    if (chosen.has(key) || !mayReplace(candidate)) continue
    const phaseNo = phaseOf(bucketOf(candidate.seed, deviceId), candidate.open_percents)
    if (phaseNo === undefined) continue
    chosen.set(key, {
      rolloutId: candidate.rollout_id,
      deviceId,
      releaseId: candidate.release_id,
      component,
      phaseNo,
      ...(open ? { supersedes: open.id } : {}),
    })
  }
  return [...chosen.values()]
}

/**
 * A newer release takes the place of one that was not started; a started one is never withheld. The two tracks stay apart
 * (updates.md 7.2): nothing but another fix on the device's line takes the place of a fix there, and a fix takes the place
 * of whatever brings features, whichever of the two was made first.
 */
function mayReplace(candidate: Candidate): boolean {
  const { open, build, runs_version } = candidate
  if (!open) return true
  if (!(unstartedStates as readonly string[]).includes(open.state)) return false
  const isFix = staysOnLine(candidate)
  const isFixOpen = staysOnLine({ ...open, runs_version })
  return isFix === isFixOpen ? open.build < build : isFix
}

function staysOnLine({
  class: kind,
  version,
  runs_version,
}: Pick<Candidate, 'class' | 'version' | 'runs_version'>): boolean {
  return kind === 'security' && (runs_version === null || !leavesLine(runs_version, version))
}

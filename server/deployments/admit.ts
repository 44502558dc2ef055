import type { Tx } from '../db/client.ts'
import { newId } from '../ids.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import { lockUnstarted } from './end-store.ts'
import { type Deployment, insertDeployments, saveChanges } from './store.ts'
import { tellEnds } from './tell-ends.ts'

/** A device that was met and falls into the open share. */
export interface Admission {
  rolloutId: string
  deviceId: string
  /** Null for a certificate. */
  releaseId: string | null
  component: string
  phaseNo: number
  /** The release only leads to the rollout's own (rollouts.md §11). */
  isStep?: boolean
  /** An open deployment of an older build for the same component, which the new one takes the place of. */
  supersedes?: string
}

/** Not started: only these may be replaced by a newer release (rollouts.md §11). */
export const unstartedStates = [
  'queued',
  'offered',
  'postponed',
  'opted_out',
] as const satisfies readonly DeploymentState[]

/**
 * Writes the deployments of devices that were met, and ends what they supersede. Safe to repeat: a device that has its
 * row, or another open deployment of the component, gets none. Returns the new rows.
 */
export async function admit(
  tx: Tx,
  admissions: readonly Admission[],
  now: Date,
): Promise<Deployment[]> {
  const superseded = admissions.flatMap(({ supersedes }) => supersedes ?? [])
  if (superseded.length > 0) {
    const rows = await lockUnstarted(tx, superseded, unstartedStates)
    const changes = rows.map((before) => ({
      before,
      after: { ...before, state: 'superseded' as const },
      steps: [{ ...step, from_state: before.state }],
    }))
    await saveChanges(tx, changes, now)
    await tellEnds(tx, changes, now)
  }
  const rows = admissions.map(({ isStep = false, ...one }) => ({
    id: newId(now),
    rollout_id: one.rolloutId,
    device_id: one.deviceId,
    release_id: one.releaseId,
    component: one.component,
    phase_no: one.phaseNo,
    is_step: isStep,
    state: 'queued' as const,
    created_at: now,
    changed_at: now,
  }))
  return await insertDeployments(tx, rows, now)
}

const step = {
  to_state: 'superseded',
  actor: 'engine',
  code: null,
  detail: null,
  reported_at: null,
} as const

import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { type Admission, admit } from '../deployments/admit.ts'
import { holdRunning } from './meet-store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'metrics'>

/**
 * Writes the deployments of those admissions that stand once the rollouts are held: still running, the phase open. Returns
 * the devices that got one.
 */
export async function claimAdmissions(
  ctx: Deps,
  admissions: readonly Admission[],
): Promise<string[]> {
  if (admissions.length === 0) return []
  const now = ctx.clock.now()
  const rows = await inTransaction(ctx.db, async (tx) => {
    const running = await holdRunning(tx, [...new Set(admissions.map((one) => one.rolloutId))])
    // A rollout that was paused since it was read admits nobody.
    const standing = admissions.filter(({ rolloutId, phaseNo }) => {
      return phaseNo <= (running.get(rolloutId)?.phase_no ?? 0)
    })
    return await admit(tx, standing, now)
  })
  ctx.metrics.deploymentsMoved.inc({ state: 'queued' }, rows.length)
  return [...new Set(rows.map((row) => row.device_id))]
}

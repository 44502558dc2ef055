import type { Tx } from '../db/client.ts'
import { lockDeployments } from './report-store.ts'
import { type Change, isGivenAgain, saveChanges } from './store.ts'

/**
 * Takes back that a deployment was cancelled, because its device refuses: it installs already, or has (ddi.md §10). What becomes of it counts
 * again. Undefined, and nothing is changed, when it is not cancelled (any more), or something else is open for the component: what the
 * device says it runs will show what came of it.
 */
export async function reviveCancelled(
  tx: Tx,
  deploymentId: string,
  now: Date,
): Promise<Change | undefined> {
  const [row] = await lockDeployments(tx, { ids: [deploymentId] })
  if (!row || row.state !== 'cancelled' || row.busy) return undefined
  // A step that was begun again since and came to a verdict stays at that.
  if (row.is_step && (await isGivenAgain(tx, row))) return undefined
  const said = { code: 'cancel-refused', detail: null, reported_at: null }
  const step = { from_state: row.state, to_state: 'installing', actor: 'engine', ...said } as const
  const change: Change = {
    before: row,
    after: { ...row, state: 'installing', code: said.code, detail: null, progress: null },
    steps: [step],
  }
  await saveChanges(tx, [change], now)
  return change
}

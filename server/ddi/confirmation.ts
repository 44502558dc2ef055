import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { storeChoices } from '../deployments/choice.ts'
import { afterReports } from '../deployments/messages.ts'
import type { Poller } from './device-store.ts'
import { objectIn } from './feedback.ts'

/**
 * The owner's answer, through a generic client (ddi.md §9): `confirmed` accepts this update, `denied` opts out of it; both go into the
 * ledger like any other choice. What is neither is noted by nobody and answered like the others.
 */
export async function confirm(ctx: Context, poller: Poller, body: Buffer): Promise<void> {
  const said = objectIn(body.toString('utf8'))?.['confirmation']
  const { deployment, device_id: deviceId } = poller
  if (!deployment || (said !== 'confirmed' && said !== 'denied')) return
  const choice = said === 'confirmed' ? ('accept' as const) : ('optOut' as const)
  const message = { deviceId, body: { deploymentId: deployment.id, choice } }
  const now = ctx.clock.now()
  const result = await inTransaction(ctx.db, (tx) => storeChoices(tx, [message], now))
  await afterReports(ctx, { ...result, commits: [] })
}

import { recordAudit } from '../audit/audit.ts'
import { abandonStaleIntents } from '../certificates/service.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import type { Worker } from '../workers/worker.ts'
import { deleteForgotten } from './approval-store.ts'
import { workOnBatches } from './batch.ts'
import type { IssueDeps } from './issue.ts'
import { giveBack } from './store.ts'

const batch = 100

/** Gives up intents that nobody came back for, and gives back what they took from tokens and quotas. */
export function enrollmentWorkers(ctx: IssueDeps): Worker[] {
  return [
    { name: 'enrollment-intents', idleMs: 60_000, step: async () => await abandonStale(ctx) },
    { name: 'enrollment-requests', idleMs: 3_600_000, step: async () => await forgetStale(ctx) },
    { name: 'enrollment-batches', idleMs: 2_000, step: async () => await workOnBatches(ctx) },
  ]
}

/** A device that has not asked for this long has given up; its place is free for another. */
const forgetAfterMs = 30 * 86_400_000

/** Returns whether there may be more. */
export async function forgetStale({ db, clock }: Pick<Context, 'db' | 'clock'>): Promise<boolean> {
  const before = new Date(clock.now().getTime() - forgetAfterMs)
  return (await inTransaction(db, (tx) => deleteForgotten(tx, before, batch))) === batch
}

/** Returns whether there may be more. */
export async function abandonStale({ db, clock }: Pick<Context, 'db' | 'clock'>): Promise<boolean> {
  const now = clock.now()
  const abandoned = await inTransaction(db, async (tx) => {
    const rows = await abandonStaleIntents(tx, now, batch)
    for (const row of rows) {
      if (row.enrollment_token_id) await giveBack(tx, row.enrollment_token_id)
      await recordAudit(tx, {
        at: now,
        actor: 'system',
        action: 'certificate.abandon',
        subject: row.id,
        facts: { deviceId: row.device_id, madeAt: row.created_at.toISOString() },
      })
    }
    return rows
  })
  return abandoned.length === batch
}

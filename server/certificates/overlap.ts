import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { announceIdentityChange } from '../devices/identity-change.ts'
import type { Worker } from '../workers/worker.ts'
import { listOverlapsEnded } from './overlap-store.ts'
import { supersedeReplaced } from './service.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'bus' | 'log' | 'identities'>

const batch = 100

/**
 * Ends certificates that were renewed longer ago than the profile grants, though the new one was never used (pki.md section 6.3).
 * Whoever lost the new one in the meantime renews no more with the old one: so the overlap is a choice, and off by default.
 *
 * @returns whether there may be more
 */
export async function endOverlaps(ctx: Deps): Promise<boolean> {
  const now = ctx.clock.now()
  const unused = await listOverlapsEnded(ctx.db, now, batch)
  const changed: string[] = []
  for (const successor of unused) {
    // One by one: whoever uses the new one at this moment comes first or after, and both end alike.
    const isEnded = await inTransaction(ctx.db, (tx) => supersedeReplaced(tx, successor, now))
    if (isEnded && successor.device_id !== null) changed.push(successor.device_id)
  }
  if (changed.length > 0) await announceIdentityChange(ctx, changed)
  return unused.length === batch
}

export function overlapWorker(ctx: Deps): Worker {
  return { name: 'overlaps', idleMs: 3_600_000, step: async () => await endOverlaps(ctx) }
}

import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import type { Worker } from '../workers/worker.ts'
import { forgetInvitations } from './invitation-store.ts'
import { forgetOldFailures } from './limit-store.ts'
import { forgetTickets } from './ticket-store.ts'

const hourMs = 3_600_000
const batchSize = 1_000

/** Removes tickets and failed attempts that count no more, and invitations of long ago. */
export function signInWorkers({ db, clock }: Pick<Context, 'db' | 'clock'>): Worker[] {
  const worker = (
    name: string,
    afterMs: number,
    forget: (tx: Tx, before: Date, limit: number) => Promise<number>,
  ): Worker => ({
    name,
    idleMs: 60_000,
    step: async () => {
      const before = new Date(clock.now().getTime() - afterMs)
      return (
        (await inTransaction(db, async (tx) => await forget(tx, before, batchSize))) === batchSize
      )
    },
  })
  return [
    worker('cleanup-sign-in-tickets', 0, forgetTickets),
    worker('cleanup-sign-in-failures', 24 * hourMs, forgetOldFailures),
    worker('cleanup-invitations', 30 * 24 * hourMs, forgetInvitations),
  ]
}

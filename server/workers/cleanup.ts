import { forgetAlerts } from '../alerts/retention.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { deleteIdentityChanges } from '../devices/identity-change.ts'
import { forgetEvents } from '../events/retention.ts'
import { forgetIdempotencyKeys } from '../http/idempotency.ts'
import { forgetOutbox } from '../outbox/relay.ts'
import { endedSessionDays, forgetSignIns } from '../people/sessions.ts'
import type { Worker } from './worker.ts'

const dayMs = 86_400_000
const batchSize = 1_000
const idleMs = 60_000

/** Within this time a request may be repeated with its `Idempotency-Key`. */
export const idempotencyDays = 7
/** A process that has not read for this long reads everything anew. */
export const identityChangeDays = 1
/** Within this time what was told to others can be told again. */
export const outboxDays = 14

type Forget = (tx: Tx, before: Date, limit: number) => Promise<number>

/** Removes what nobody can ask for any more, in batches, each in a transaction of its own. */
export function cleanupWorkers(ctx: Pick<Context, 'db' | 'clock' | 'config'>): Worker[] {
  const worker = (name: string, days: number, forget: Forget): Worker => ({
    name,
    idleMs,
    step: async () => {
      const before = new Date(ctx.clock.now().getTime() - days * dayMs)
      return (await inTransaction(ctx.db, (tx) => forget(tx, before, batchSize))) === batchSize
    },
  })
  return [
    worker('cleanup-idempotency', idempotencyDays, forgetIdempotencyKeys),
    worker('cleanup-identity-changes', identityChangeDays, deleteIdentityChanges),
    worker('cleanup-sign-ins', endedSessionDays, forgetSignIns),
    worker('cleanup-events', ctx.config.eventDays, forgetEvents),
    worker('cleanup-outbox', outboxDays, forgetOutbox),
    worker('cleanup-alerts', ctx.config.eventDays, forgetAlerts),
  ]
}

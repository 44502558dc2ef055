import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import type { Worker } from '../workers/worker.ts'
import { buryOld } from './delivery-store.ts'
import { relayEvents } from './relay.ts'
import { giveUpMs } from './schedule.ts'

const relayIdleMs = 500
const buryIdleMs = 300_000
const buryBatch = 1_000

/** Beside the courier, which delivers: what hands events on, and what gives up on those that nobody could even try in their time. */
export function webhookWorkers(ctx: Pick<Context, 'db' | 'clock'>): Worker[] {
  const { db, clock } = ctx
  return [
    { name: 'webhook-relay', idleMs: relayIdleMs, step: async () => await relayEvents(ctx) },
    {
      name: 'webhook-dead-letters',
      idleMs: buryIdleMs,
      step: async () => {
        const now = clock.now()
        const before = new Date(now.getTime() - giveUpMs)
        const limit = buryBatch
        return (await inTransaction(db, (tx) => buryOld(tx, before, { now, limit }))) === buryBatch
      },
    },
  ]
}

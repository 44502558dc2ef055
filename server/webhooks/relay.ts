import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { recordEvents } from '../events/record.ts'
import { enqueueAll } from '../outbox/outbox.ts'
import { takeEvents } from '../outbox/relay.ts'
import { insertDeliveries, mostWaiting, takeGaps } from './delivery-store.ts'

const batchSize = 500

/**
 * Hands events that wait on to the endpoints that want them: one step of one process at a time. An endpoint whose backlog is full misses them, is told how
 * many and of which time once it has room again, and may ask for them anew.
 *
 * @returns whether there may be more
 */
export async function relayEvents(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  room = mostWaiting,
): Promise<boolean> {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const ids = await takeEvents(tx, { limit: batchSize, now })
    if (ids === undefined) return false
    if (ids.length > 0) {
      const missed = await insertDeliveries(tx, ids, { now, room })
      const full = missed.filter((one) => one.is_first)
      await recordEvents(
        tx,
        now,
        full.map(({ endpoint_id: endpointId }) => ({
          source: 'server',
          kind: 'webhook-backlog-full',
          severity: 'warning',
          facts: { endpointId, kept: room },
        })),
      )
    }
    const gaps = await takeGaps(tx, room)
    await enqueueAll(
      tx,
      gaps.map(({ id, missed, from, until }) => ({
        type: 'webhook.gap',
        at: now,
        subject: id,
        data: { missed, from: from.toISOString(), until: until.toISOString() },
        endpointId: id,
      })),
    )
    return ids.length === batchSize
  })
}

import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { enqueueAll } from '../outbox/outbox.ts'
import type { Worker } from '../workers/worker.ts'
import { chainHead, type SealedRow, sealedRows } from './store.ts'
import { lockStream, moveStream } from './stream-store.ts'

const name = 'webhooks'
const batchRows = 200
const idleMs = 1_000

/**
 * Tells webhooks that ask for `audit.recorded` of the next rows in the order of the chain, from a place that the database holds: a row is told of in the
 * transaction that moves it, once, whichever process does it. Begins with what is recorded after the first start. True when there is more.
 */
export async function tellWebhooks({ db }: Pick<Context, 'db'>): Promise<boolean> {
  return await inTransaction(db, async (tx) => {
    const begin = (await chainHead(tx))?.chainNo ?? 0
    const place = await lockStream(tx, name, begin)
    if (place === undefined) return false
    const rows = await sealedRows(tx, place, batchRows)
    const last = rows.at(-1)
    if (!last) return false
    await enqueueAll(tx, rows.map(eventOf))
    await moveStream(tx, name, last.chain_no)
    return rows.length === batchRows
  })
}

function eventOf(row: SealedRow) {
  return {
    type: 'audit.recorded' as const,
    at: new Date(row.at_text),
    subject: row.subject,
    data: {
      seq: row.seq,
      actor: row.actor,
      action: row.action,
      // Written by recordAudits, which takes nothing but objects.
      facts: JSON.parse(row.facts_text) as Record<string, unknown>,
      requestId: row.request_id,
    },
  }
}

export function webhookStreamWorkers(ctx: Pick<Context, 'db'>): Worker[] {
  return [{ name: 'audit-webhooks', idleMs, step: async () => await tellWebhooks(ctx) }]
}

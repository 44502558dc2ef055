import { createHash } from 'node:crypto'

import type { Request } from 'express'

import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'

/**
 * The id for what a POST is about to create. With an `Idempotency-Key` (1–255 printable ASCII characters, scoped to the
 * caller) the id is reserved for that key: a retry, also after a crash in between, creates nothing twice. The same key
 * with another request is refused. Keys are kept for `idempotencyDays` (see workers/cleanup.ts).
 */
export async function reserveId(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  req: Request,
  actor: { id: string },
  body: unknown,
): Promise<string> {
  const now = clock.now()
  const key = req.get('idempotency-key')
  if (key === undefined) return newId(now)
  if (!/^[\x21-\x7e]{1,255}$/.test(key)) {
    throw new DomainError(
      'invalid-request',
      'Idempotency-Key must be 1 to 255 printable ASCII characters',
    )
  }
  const requestHash = createHash('sha256')
    .update(`${req.method} ${req.path}\n`)
    .update(JSON.stringify(body ?? null))
    .digest()
  const row = await inTransaction(db, async (tx) => {
    await tx
      .insertInto('idempotency')
      .values({
        actor: actor.id,
        key,
        request_hash: requestHash,
        resource_id: newId(now),
        created_at: now,
      })
      .onConflict((oc) => oc.columns(['actor', 'key']).doNothing())
      .execute()
    return await tx
      .selectFrom('idempotency')
      .select(['request_hash', 'resource_id'])
      .where('actor', '=', actor.id)
      .where('key', '=', key)
      .executeTakeFirstOrThrow()
  })
  if (!row.request_hash.equals(requestHash)) {
    throw new DomainError(
      'idempotency-mismatch',
      'This Idempotency-Key was used for another request',
    )
  }
  return row.resource_id
}

/** Forgets keys that were made before an instant, at most `limit` of them. Returns how many. */
export async function forgetIdempotencyKeys(tx: Tx, before: Date, limit: number): Promise<number> {
  const rows = await tx
    .deleteFrom('idempotency')
    .where((eb) =>
      eb(
        eb.refTuple('actor', 'key'),
        'in',
        eb
          .selectFrom('idempotency')
          .select(['actor', 'key'])
          .where('created_at', '<', before)
          .orderBy('created_at')
          .limit(limit)
          .forUpdate()
          .skipLocked()
          .$asTuple('actor', 'key'),
      ),
    )
    .returning('key')
    .execute()
  return rows.length
}

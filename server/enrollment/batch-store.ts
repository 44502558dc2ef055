import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { profileCovered, withinReach } from '../db/reach.ts'
import type { EnrollmentBatchRowTable, EnrollmentBatchTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { Reach } from '../protocol/reach.ts'

export type Batch = Selectable<EnrollmentBatchTable>
export type BatchRow = Selectable<EnrollmentBatchRowTable>

/** Returns false when the id is taken. */
export async function insertBatch(tx: Tx, row: Batch): Promise<boolean> {
  const inserted = await tx
    .insertInto('enrollment_batch')
    .values(row)
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

export async function findBatch(db: Db, id: string, reach: Reach): Promise<Batch | undefined> {
  return await batches(db, reach).where('id', '=', id).executeTakeFirst()
}

function batches(db: Db, reach: Reach) {
  return db
    .selectFrom('enrollment_batch')
    .selectAll()
    .where(profileCovered('enrollment_batch.profile_id', reach))
}

export async function getBatch(db: Db, id: string, reach: Reach): Promise<Batch> {
  const row = await findBatch(db, id, reach)
  if (!row) throw new DomainError('not-found', 'No such batch', { batchId: id })
  return row
}

/** Newest first. `before` is the id of the last one seen. */
export async function listBatches(
  db: Db,
  { reach, before, limit }: { reach: Reach; before: string | undefined; limit: number },
): Promise<Batch[]> {
  let query = batches(db, reach)
  if (before !== undefined) query = query.where('id', '<', before)
  return await query.orderBy('id', 'desc').limit(limit).execute()
}

export interface NewBatchRow {
  rowNumber: number
  csr: Buffer | null
  message: string | null
}

/** Rows of a file, in one statement; those without a request have failed already. */
export async function insertBatchRows(
  tx: Tx,
  batchId: string,
  rows: readonly NewBatchRow[],
): Promise<void> {
  if (rows.length === 0) return
  await tx
    .insertInto('enrollment_batch_row')
    .values(
      rows.map(({ rowNumber, csr, message }) => ({
        batch_id: batchId,
        row_number: rowNumber,
        csr,
        state: csr ? ('waiting' as const) : ('failed' as const),
        message,
        fingerprint: null,
      })),
    )
    .execute()
}

/** The whole file is there: from now on it is worked on. */
export async function markRunning(
  tx: Tx,
  id: string,
  { total, failed }: { total: number; failed: number },
): Promise<void> {
  await tx
    .updateTable('enrollment_batch')
    .set({ state: 'running', total, failed })
    .where('id', '=', id)
    .where('state', '=', 'loading')
    .execute()
}

export async function deleteBatch(tx: Tx, id: string): Promise<void> {
  await tx
    .deleteFrom('enrollment_batch')
    .where('id', '=', id)
    .where('state', '=', 'loading')
    .execute()
}

/** Files whose upload broke off with the process that took it. */
export async function deleteBroken(tx: Tx, before: Date): Promise<void> {
  await tx
    .deleteFrom('enrollment_batch')
    .where('state', '=', 'loading')
    .where('created_at', '<', before)
    .execute()
}

export async function findRunning(db: Db): Promise<Batch | undefined> {
  return await db
    .selectFrom('enrollment_batch')
    .selectAll()
    .where('state', '=', 'running')
    .orderBy('id')
    .limit(1)
    .executeTakeFirst()
}

export async function listWaitingRows(db: Db, batchId: string, limit: number): Promise<BatchRow[]> {
  return await db
    .selectFrom('enrollment_batch_row')
    .selectAll()
    .where('batch_id', '=', batchId)
    .where('state', '=', 'waiting')
    .orderBy('row_number')
    .limit(limit)
    .execute()
}

/** Only the first of two workers that had the same row counts it. */
export async function settleRow(
  tx: Tx,
  row: { batch_id: string; row_number: number },
  result: { fingerprint: string } | { message: string },
): Promise<void> {
  const state = 'fingerprint' in result ? 'issued' : 'failed'
  const settled = await tx
    .updateTable('enrollment_batch_row')
    .set({ state, ...result })
    .where('batch_id', '=', row.batch_id)
    .where('row_number', '=', row.row_number)
    .where('state', '=', 'waiting')
    .returning('row_number')
    .executeTakeFirst()
  if (!settled) return
  await tx
    .updateTable('enrollment_batch')
    .set((eb) => ({ [state]: eb(state, '+', 1) }))
    .where('id', '=', row.batch_id)
    .execute()
}

/** Returns it when this call ended it. */
export async function markDone(tx: Tx, id: string, now: Date): Promise<Batch | undefined> {
  return await tx
    .updateTable('enrollment_batch')
    .set({ state: 'done', finished_at: now })
    .where('id', '=', id)
    .where('state', '=', 'running')
    .where(sql<boolean>`issued + failed = total`)
    .returningAll()
    .executeTakeFirst()
}

export interface BatchResult {
  row_number: number
  state: BatchRow['state']
  message: string | null
  fingerprint: string | null
  der: Buffer | null
  serial_number: string | null
}

/** In the order of the file. `after` is the number of the last row seen. Of a device outside the reach a row says nothing. */
export async function listResults(
  db: Db,
  batchId: string,
  { reach, after, limit }: { reach: Reach; after: number; limit: number },
): Promise<BatchResult[]> {
  return await db
    .selectFrom('enrollment_batch_row as row')
    .leftJoin('certificate', (join) =>
      join
        .onRef('certificate.fingerprint', '=', 'row.fingerprint')
        .on(withinReach('certificate.device_id', reach)),
    )
    .leftJoin('device', 'device.id', 'certificate.device_id')
    .select([
      'row.row_number',
      'row.state',
      'row.message',
      'certificate.fingerprint',
      'certificate.der',
      'device.serial_number',
    ])
    .where('row.batch_id', '=', batchId)
    .where('row.row_number', '>', after)
    .orderBy('row.row_number')
    .limit(limit)
    .execute()
}

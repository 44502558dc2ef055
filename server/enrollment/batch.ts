import { createHash } from 'node:crypto'

import { fingerprint } from '../../pki/x509/parse.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Reach } from '../protocol/reach.ts'
import {
  type Batch,
  type BatchRow,
  deleteBatch,
  deleteBroken,
  findBatch,
  findRunning,
  getBatch,
  insertBatch,
  insertBatchRows,
  listWaitingRows,
  markDone,
  markRunning,
  type NewBatchRow,
  settleRow,
} from './batch-store.ts'
import { type CsvRow, readCsv } from './csv.ts'
import { enroll } from './enroll.ts'
import { decodeEstBody } from './est-format.ts'
import type { IssueDeps } from './issue.ts'
import { readRequest } from './request.ts'
import { findToken, getProfile, insertToken, type Token } from './store.ts'
import { readZip } from './zip.ts'

export const maxBatchRows = 10_000
/** An RSA-4096 or ML-DSA-87 request in PEM, and then some. */
const maxRowLength = 16_384
export const maxBatchBytes = 128 * 1024 * 1024
const insertRows = 200
const stepRows = 50
const brokenAfterMs = 3_600_000

/** A ZIP is read as a whole: a tenth of what CSV may have, which comes in by rows. */
const zipLimits = {
  maxEntries: maxBatchRows,
  maxEntryBytes: maxRowLength,
  maxBytes: 16 * 1024 * 1024,
  maxTotalBytes: 32 * 1024 * 1024,
}

export const batchTypes = ['text/csv', 'application/zip'] as const
export type BatchType = (typeof batchTypes)[number]

export interface NewBatch {
  id: string
  profileId: string
  type: BatchType
  chunks: AsyncIterable<Buffer>
  reach: Reach
  actor: string
  requestId: string
}

/**
 * Takes a certificate request for each device: a CSV file with the column `csr`, in PEM or base64, or a ZIP of files, each one
 * request in PEM, base64 or DER, which are rows in their order. Certificates are issued afterwards by a worker, by the rules of the profile; that an operator gave the file in is the approval. A file that breaks off
 * leaves nothing. The same id again answers the same batch.
 *
 * @throws DomainError `invalid-request`, `too-large`
 */
export async function createBatch(
  deps: Pick<Context, 'db' | 'clock'>,
  command: NewBatch,
): Promise<Batch> {
  const { db } = deps
  const { id } = command
  if (!(await begin(deps, command))) {
    const known = await getBatch(db, id, 'fleet')
    if (known.state !== 'loading') return known
    throw new DomainError('busy', 'The same file is being taken already')
  }
  try {
    const counts = await load(deps, command)
    await inTransaction(db, async (tx) => {
      await markRunning(tx, id, counts)
      const { actor, profileId, requestId } = command
      const entry = { at: deps.clock.now(), actor, subject: id, requestId }
      const facts = { profileId, ...counts }
      await recordAudit(tx, { ...entry, action: 'enrollment-batch.create', facts })
    })
  } catch (error) {
    await inTransaction(db, (tx) => deleteBatch(tx, id))
    throw error
  }
  return await getBatch(db, id, 'fleet')
}

/** The batch has a credential of its own, under which its certificates are counted and audited. */
async function begin(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { id, profileId, reach, actor }: NewBatch,
): Promise<boolean> {
  const now = clock.now()
  const by = { created_by: actor, created_at: now }
  return await inTransaction(db, async (tx) => {
    await getProfile(tx, profileId)
    if (await findBatch(tx, id, 'fleet')) return false
    const token: Token = {
      id,
      profile_id: profileId,
      secret_hash: createHash('sha256').update(`batch\n${id}`).digest(),
      max_uses: maxBatchRows,
      uses: 0,
      expires_at: null,
      kind: 'batch',
      certificate: null,
      identity: null,
      limited: reach !== 'fleet',
      ...by,
    }
    await insertToken(tx, token)
    const counts = { total: 0, issued: 0, failed: 0 }
    const row = { id, profile_id: profileId, token_id: id, state: 'loading', ...counts } as const
    return await insertBatch(tx, { ...row, ...by, finished_at: null })
  })
}

async function load(
  { db }: Pick<Context, 'db'>,
  { id, type, chunks }: NewBatch,
): Promise<{ total: number; failed: number }> {
  let rows: NewBatchRow[] = []
  let total = 0
  let failed = 0
  const flush = async () => {
    const full = rows
    rows = []
    await inTransaction(db, (tx) => insertBatchRows(tx, id, full))
  }
  for await (const read of type === 'text/csv' ? inCsv(chunks) : inZip(chunks)) {
    total += 1
    if (total > maxBatchRows) {
      throw new DomainError('too-large', `More than ${maxBatchRows} rows: split the file`)
    }
    if (read.csr === null) failed += 1
    rows.push({ rowNumber: total, ...read })
    if (rows.length >= insertRows) await flush()
  }
  await flush()
  return { total, failed }
}

type Read = Pick<NewBatchRow, 'csr' | 'message'>

async function* inCsv(chunks: AsyncIterable<Buffer>): AsyncGenerator<Read> {
  let column: number | undefined
  for await (const row of readCsv(chunks, maxRowLength)) {
    if (column === undefined) column = columnOf(row)
    else yield requestIn('The field csr', Buffer.from(row.fields[column] ?? '', 'utf8'))
  }
  if (column === undefined) throw new DomainError('invalid-request', 'The file is empty')
}

async function* inZip(chunks: AsyncIterable<Buffer>): AsyncGenerator<Read> {
  for await (const file of readZip(chunks, zipLimits)) {
    if (!file) yield { csr: null, message: `The file has more than ${maxRowLength} bytes` }
    // DER of a request has a length of several octets in its second one; base64 and PEM are ASCII.
    else if ((file[1] ?? 0) >= 0x80) yield { csr: file, message: null }
    else yield requestIn('The file', file)
  }
}

function columnOf({ fields }: CsvRow): number {
  const column = fields.findIndex((field) => field.trim() === 'csr')
  if (column >= 0) return column
  throw new DomainError('invalid-request', 'The first line must name the columns, one of them csr')
}

/** Base64 only: what a request says is judged when it is its turn, by the same rules as a device's own. */
function requestIn(what: string, text: Buffer): Read {
  try {
    return { csr: decodeEstBody(text), message: null }
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    return { csr: null, message: `${what} is no certificate request in PEM or base64` }
  }
}

/**
 * Works on the oldest batch. Each row is one enrollment, which is safe to repeat: a worker that died, or two at once, give the same
 * certificates.
 *
 * @returns whether there is more to do
 */
export async function workOnBatches(ctx: IssueDeps): Promise<boolean> {
  const { db, clock } = ctx
  const before = new Date(clock.now().getTime() - brokenAfterMs)
  await inTransaction(db, (tx) => deleteBroken(tx, before))
  const batch = await findRunning(db)
  if (!batch) return false
  const rows = await listWaitingRows(db, batch.id, stepRows)
  for (const row of rows) await workOnRow(ctx, batch, row)
  if (rows.length === stepRows) return true
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    const done = await markDone(tx, batch.id, now)
    if (!done) return
    const { issued, failed } = done
    const entry = { at: now, actor: 'system', subject: batch.id, facts: { issued, failed } }
    await recordAudit(tx, { ...entry, action: 'enrollment-batch.finish' })
  })
  return true
}

async function workOnRow(ctx: IssueDeps, batch: Batch, row: BatchRow): Promise<void> {
  const result = await resultOf(ctx, batch, row)
  await inTransaction(ctx.db, (tx) => settleRow(tx, row, result))
}

/** A refusal is the row's result; what may pass (the signer, the database) ends the step, and the row is tried again. */
async function resultOf(ctx: IssueDeps, batch: Batch, { csr }: BatchRow) {
  const token = await findToken(ctx.db, batch.token_id)
  if (!token || !csr) return { message: 'There is no request' }
  try {
    const profile = await getProfile(ctx.db, batch.profile_id)
    const der = await enroll(ctx, { token, profile, csr: readRequest(csr) })
    return { fingerprint: fingerprint(der) }
  } catch (error) {
    if (!(error instanceof DomainError) || error.code === 'busy') throw error
    return { message: error.message.slice(0, 500) }
  }
}

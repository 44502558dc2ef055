import { chainHash, chainStart, chainText } from '../../pki/audit/chain.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import type { Worker } from '../workers/worker.ts'
import {
  becomeSealer,
  chainHead,
  type SealableRow,
  type SealedRow,
  sealedRows,
  unsealedRows,
  writeSeals,
} from './store.ts'

const batchSize = 500
const idleMs = 1_000

/** The text that is hashed for a row, at its place. */
export function sealedText(chainNo: number, row: SealableRow): string {
  return chainText(chainNo, {
    seq: row.seq,
    at: row.at_text,
    actor: row.actor,
    action: row.action,
    subject: row.subject,
    facts: row.facts_text,
    requestId: row.request_id,
    ...(row.format === 1 ? {} : { origin: row.origin_text }),
  })
}

function sealHash(before: Buffer, chainNo: number, row: SealableRow): Buffer {
  return chainHash(before, sealedText(chainNo, row))
}

/**
 * Appends a batch of audit rows to the hash chain. Rows are chained in the order they are sealed, not of `seq`: sequence
 * numbers commit out of order, and a row that commits late is sealed late. Returns how many were sealed; 0 also when
 * another process seals at this moment.
 */
export async function sealBatch({ db }: Pick<Context, 'db'>): Promise<number> {
  return await inTransaction(db, async (tx) => {
    if (!(await becomeSealer(tx))) return 0
    const rows = await unsealedRows(tx, batchSize)
    if (rows.length === 0) return 0
    const head = await chainHead(tx)
    let chainNo = head?.chainNo ?? 0
    let prevHash = head?.hash ?? chainStart
    const seals = rows.map((row) => {
      chainNo += 1
      const seal = { seq: row.seq, chainNo, prevHash, hash: sealHash(prevHash, chainNo, row) }
      prevHash = seal.hash
      return seal
    })
    await writeSeals(tx, seals)
    return rows.length
  })
}

export function auditWorkers(ctx: Pick<Context, 'db'>): Worker[] {
  return [
    {
      name: 'audit-seal',
      idleMs,
      step: async () => (await sealBatch(ctx)) === batchSize,
    },
  ]
}

export interface ChainBreak {
  chainNo: number
  seq: number | null
  reason: 'missing' | 'wrong-previous' | 'changed' | 'forked' | 'wrong-signature' | 'cut-off'
}

/** Looks at one row against the place and hash before it. */
export function breakAt(
  row: SealedRow,
  before: { chainNo: number; hash: Buffer },
): ChainBreak | undefined {
  const expected = before.chainNo + 1
  if (row.chain_no !== expected) return { chainNo: expected, seq: null, reason: 'missing' }
  const found = { chainNo: row.chain_no, seq: row.seq }
  if (!row.prev_hash.equals(before.hash)) return { ...found, reason: 'wrong-previous' }
  if (!row.hash.equals(sealHash(before.hash, row.chain_no, row)))
    return { ...found, reason: 'changed' }
  return undefined
}

/** Reads the chain in pages of bounded size; each page is one statement. */
export async function* walkChain(
  { db }: Pick<Context, 'db'>,
  from: { after: number; limit: number },
): AsyncGenerator<SealedRow> {
  let { after } = from
  let left = from.limit
  while (left > 0) {
    const rows = await sealedRows(db, after, Math.min(left, 1_000))
    yield* rows
    const last = rows.at(-1)
    if (!last) return
    after = last.chain_no
    left -= rows.length
  }
}

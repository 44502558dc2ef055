import { parseCheckpoint } from '../../pki/audit/checkpoint.ts'
import { PkiError } from '../../pki/errors.ts'
import { type NoteKey, openNote } from '../../pki/signed-note.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { beginOf } from './begin.ts'
import { type CheckpointRow, checkpointsBetween, listAuditKeys } from './evidence-store.ts'
import { publicAuditKey } from './keys.ts'
import { breakAt, type ChainBreak, walkChain } from './seal.ts'
import { chainHead, countUnsealed, type SealedRow } from './store.ts'

export interface ChainReport {
  ok: boolean
  walked: number
  verifiedTo: number
  head: Buffer
  more: boolean
  unsealed: number
  /** The last place among those walked that a checkpoint covers; 0: none does. */
  coveredTo: number
  firstBreak: ChainBreak | null
}

const walking = new WeakSet<object>()

/**
 * Walks the hash chain, compares it with the checkpoints, and reports the first place where it does not hold. What it cannot see is a chain
 * cut off at its end together with its checkpoints, or made anew with another key: for that, keep checkpoints and the key elsewhere (docs/audit.md). One
 * walk at a time a process (`busy` otherwise): it reads the whole log.
 */
export async function verifyChain(
  ctx: Pick<Context, 'db'>,
  range: { after?: number | undefined; limit: number },
): Promise<ChainReport> {
  if (walking.has(ctx.db)) throw new DomainError('busy', 'The chain is being verified already')
  walking.add(ctx.db)
  try {
    return await walk(ctx, range)
  } finally {
    walking.delete(ctx.db)
  }
}

async function walk(
  ctx: Pick<Context, 'db'>,
  range: { after?: number | undefined; limit: number },
): Promise<ChainReport> {
  const { db } = ctx
  const begin = await beginOf(db, range.after)
  const signed = await signedPlaces(db, begin.chainNo, range.limit)
  let before = begin
  let walked = 0
  let coveredTo = 0
  let firstBreak: ChainBreak | null = null
  for await (const row of walkChain(ctx, { after: begin.chainNo, limit: range.limit })) {
    const checkpoint = signed.at(row.chain_no)
    firstBreak = breakAt(row, before) ?? (checkpoint && disagreement(row, checkpoint)) ?? null
    if (firstBreak) break
    walked++
    before = { chainNo: row.chain_no, hash: row.hash }
    if (checkpoint) coveredTo = row.chain_no
  }
  const head = await chainHead(db)
  const more = firstBreak === null && head !== undefined && head.chainNo > before.chainNo
  if (!firstBreak && !more) firstBreak = await cutOff(db, before.chainNo)
  return {
    ok: firstBreak === null,
    walked,
    verifiedTo: before.chainNo,
    head: before.hash,
    more,
    unsealed: await countUnsealed(db),
    coveredTo,
    firstBreak,
  }
}

/** What was signed for a place: its hash, or that the signature does not hold. */
type Signed = { hash: Buffer } | 'wrong-signature'

async function signedPlaces(
  db: Db,
  after: number,
  limit: number,
): Promise<{ at: (chainNo: number) => Signed | undefined }> {
  const keys = (await listAuditKeys(db)).map(publicAuditKey)
  const rows = await checkpointsBetween(db, { after, upTo: after + limit, limit })
  const places = new Map(rows.map((row) => [row.chain_no, signedBy(row, keys)]))
  return { at: (chainNo) => places.get(chainNo) }
}

function signedBy(row: CheckpointRow, keys: readonly NoteKey[]): Signed {
  try {
    const { text, signers } = openNote(row.note, keys)
    const { chainNo, hash } = parseCheckpoint(text)
    return signers.length > 0 && chainNo === row.chain_no ? { hash } : 'wrong-signature'
  } catch (error) {
    if (error instanceof PkiError) return 'wrong-signature'
    throw error
  }
}

function disagreement(row: SealedRow, signed: Signed): ChainBreak | undefined {
  const at = { chainNo: row.chain_no, seq: row.seq }
  if (signed === 'wrong-signature') return { ...at, reason: 'wrong-signature' }
  return signed.hash.equals(row.hash) ? undefined : { ...at, reason: 'forked' }
}

/** A checkpoint was signed for rows that are not there. */
async function cutOff(db: Db, end: number): Promise<ChainBreak | null> {
  const beyond = { after: end, upTo: Number.MAX_SAFE_INTEGER, limit: 1 }
  const [checkpoint] = await checkpointsBetween(db, beyond)
  // Sealed and signed while we looked.
  if (!checkpoint || ((await chainHead(db))?.chainNo ?? 0) >= checkpoint.chain_no) return null
  return { chainNo: end + 1, seq: null, reason: 'cut-off' }
}

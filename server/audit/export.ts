import { checkpointLine, endLine, keyLine, logLine, rowLine } from '../../pki/audit/export-line.ts'
import { noteKeyText } from '../../pki/signed-note.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { beginOf } from './begin.ts'
import {
  chainBegin,
  type CheckpointRow,
  checkpointsBetween,
  listAuditKeys,
} from './evidence-store.ts'
import { publicAuditKey } from './keys.ts'
import { sealedText } from './seal.ts'
import { chainHead, type SealedRow, sealedRows } from './store.ts'

const pageRows = 500

export interface ExportRange {
  /** Begin behind this place; absent: at the beginning of what is kept. */
  after?: number | undefined
  /** End with this place; absent: with the last one there is. */
  upTo?: number | undefined
}

/**
 * The sealed rows in the order of the chain, with the keys and checkpoints that verify them (pki/audit/export-line.ts), a page at a time. It shows what the
 * database holds: a gap in it is a gap here.
 *
 * @throws DomainError `not-found` when the chain has no such place (any more), `not-ready` before the first start has made the log's key
 */
export async function* exportChain(
  { db }: Pick<Context, 'db'>,
  range: ExportRange = {},
): AsyncGenerator<string> {
  const begin = await beginOf(db, range.after)
  const keys = (await listAuditKeys(db)).map((row) => ({ row, key: publicAuditKey(row) }))
  const [first] = keys
  if (!first) throw new DomainError('not-ready', 'The audit log has no key yet')
  const last = range.upTo ?? (await chainHead(db))?.chainNo ?? 0
  const head = [logLine(first.key.name, begin.chainNo, begin.hash)]
  for (const { row, key } of keys) head.push(keyLine(noteKeyText(key), row.endorsement))
  const before = { after: begin.chainNo - 1, upTo: begin.chainNo, limit: 1 }
  head.push(...noteLines(await checkpointsBetween(db, before)))
  yield head.join('')
  let place = begin
  for (;;) {
    const rows = (await sealedRows(db, place.chainNo, pageRows)).filter(
      ({ chain_no }) => chain_no <= last,
    )
    const end = rows.at(-1)
    if (!end) break
    const range = { after: place.chainNo, upTo: end.chain_no, limit: end.chain_no - place.chainNo }
    yield pageText(rows, await checkpointsBetween(db, range))
    place = { chainNo: end.chain_no, hash: end.hash }
  }
  yield (await lostLines(db)).join('') + endLine(place.chainNo, place.hash)
}

/** Checkpoints stand behind the row that they end in, or in whose place there is none. */
function pageText(rows: readonly SealedRow[], checkpoints: readonly CheckpointRow[]): string {
  const lines: string[] = []
  let next = 0
  for (const row of rows) {
    for (; (checkpoints[next]?.chain_no ?? Infinity) < row.chain_no; next++)
      lines.push(...noteLines(checkpoints.slice(next, next + 1)))
    lines.push(rowLine(row.chain_no, row.prev_hash, row.hash, sealedText(row.chain_no, row)))
  }
  lines.push(...noteLines(checkpoints.slice(next)))
  return lines.join('')
}

/** Signed, and not there: rows were taken from the end. */
async function lostLines(db: Db): Promise<string[]> {
  const head = (await chainHead(db))?.chainNo ?? (await chainBegin(db))?.chainNo ?? 0
  const beyond = { after: head, upTo: Number.MAX_SAFE_INTEGER, limit: 100 }
  return noteLines(await checkpointsBetween(db, beyond))
}

function noteLines(checkpoints: readonly CheckpointRow[]): string[] {
  return checkpoints.map(({ note }) => checkpointLine(note))
}

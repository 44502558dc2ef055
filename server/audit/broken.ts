import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { recordOnce } from '../events/record.ts'
import { beginOf } from './begin.ts'
import { latestCheckpoint } from './evidence-store.ts'
import { breakAt, type ChainBreak, walkChain } from './seal.ts'

/** More rows than are sealed between two checkpoints. */
const mostRows = 10_000

/** A chain that does not hold is a critical event, once for each place and reason. */
export async function noteBroken(
  { db, clock, log }: Pick<Context, 'db' | 'clock' | 'log'>,
  found: ChainBreak | null,
): Promise<void> {
  if (!found) return
  const { chainNo, seq, reason } = found
  const event = {
    source: 'server' as const,
    kind: 'audit-broken',
    severity: 'critical' as const,
    facts: { chainNo, reason },
  }
  const isNew = await inTransaction(db, (tx) => recordOnce(tx, clock.now(), event))
  if (isNew) log.error({ chainNo, seq, reason }, 'the audit log was changed: it does not hold')
}

/** Whether what was signed last is still there as it was signed, and what was sealed since then holds. */
export async function brokenSinceCheckpoint({
  db,
}: Pick<Context, 'db'>): Promise<ChainBreak | null> {
  const last = await latestCheckpoint(db)
  const begin = await beginOf(db, last?.chain_no).catch((error: unknown) => {
    if (error instanceof DomainError && error.code === 'not-found') return undefined
    throw error
  })
  if (!begin) return { chainNo: last?.chain_no ?? 0, seq: null, reason: 'cut-off' }
  if (last && !begin.hash.equals(last.hash)) {
    return { chainNo: last.chain_no, seq: null, reason: 'forked' }
  }
  let before = begin
  for await (const row of walkChain({ db }, { after: begin.chainNo, limit: mostRows })) {
    const found = breakAt(row, before)
    if (found) return found
    before = { chainNo: row.chain_no, hash: row.hash }
  }
  return null
}

import { chainStart } from '../../pki/audit/chain.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { breakAt, type ChainBreak, walkChain } from './seal.ts'
import { chainHead, countUnsealed, hashAt } from './store.ts'

export interface ChainReport {
  ok: boolean
  walked: number
  verifiedTo: number
  head: Buffer
  more: boolean
  unsealed: number
  firstBreak: ChainBreak | null
}

const walking = new WeakSet<object>()

/**
 * Walks the hash chain and reports the first place where it does not hold. What it cannot see is a chain cut off at its end
 * together with its rows: for that, compare `verifiedTo` and `head` with values kept elsewhere. One walk at a
 * time a process (`busy` otherwise): it reads the whole log.
 */
export async function verifyChain(
  ctx: Pick<Context, 'db'>,
  range: { after: number; limit: number },
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
  range: { after: number; limit: number },
): Promise<ChainReport> {
  const start = range.after === 0 ? chainStart : await hashAt(ctx.db, range.after)
  if (!start)
    throw new DomainError('not-found', 'The chain has no such place', { after: range.after })
  let before = { chainNo: range.after, hash: start }
  let walked = 0
  let firstBreak: ChainBreak | null = null
  for await (const row of walkChain(ctx, range)) {
    firstBreak = breakAt(row, before) ?? null
    if (firstBreak) break
    walked++
    before = { chainNo: row.chain_no, hash: row.hash }
  }
  const head = await chainHead(ctx.db)
  return {
    ok: firstBreak === null,
    walked,
    verifiedTo: before.chainNo,
    head: before.hash,
    more: firstBreak === null && head !== undefined && head.chainNo > before.chainNo,
    unsealed: await countUnsealed(ctx.db),
    firstBreak,
  }
}

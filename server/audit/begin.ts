import { chainStart } from '../../pki/audit/chain.ts'
import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { chainBegin } from './evidence-store.ts'
import { hashAt } from './store.ts'

export interface ChainPlace {
  chainNo: number
  hash: Buffer
}

/**
 * The place behind which somebody wants to read: the one given, or the one behind which everything is that is kept.
 *
 * @throws DomainError `not-found` when the chain has no such place, or none any more
 */
export async function beginOf(db: Db, after: number | undefined): Promise<ChainPlace> {
  const begin = (await chainBegin(db)) ?? { chainNo: 0, hash: chainStart }
  if (after === undefined || after === begin.chainNo) return begin
  const hash = after > begin.chainNo ? await hashAt(db, after) : undefined
  if (hash) return { chainNo: after, hash }
  throw new DomainError(
    'not-found',
    after < begin.chainNo
      ? `The chain begins at ${begin.chainNo + 1}: what was before is in the archive`
      : 'The chain has no such place',
    { after, begins: begin.chainNo + 1 },
  )
}

import type { Db } from '../db/client.ts'
import type { ApprovalKind } from '../protocol/approvals.ts'
import { findPolicy } from './store.ts'

/** How many others have to agree to this kind of thing; none by default. */
export async function neededFor(db: Db, kind: ApprovalKind): Promise<number> {
  return (await findPolicy(db, kind))?.needed ?? 0
}

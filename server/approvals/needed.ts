import type { Db } from '../db/client.ts'
import type { ApprovalKind } from '../protocol/approvals.ts'
import { findPolicy } from './store.ts'

export const defaultExpiresHours = 24

/** Of an override: the device asks for two, whatever a policy says (updates.md §7.2). */
export const leastNeeded: Readonly<Partial<Record<ApprovalKind, number>>> = { override: 2 }

/** What holds of overrides now: how many others have to approve, and until when they can if they were asked now. */
export async function overridePolicy(
  db: Db,
  now: Date,
): Promise<{ needed: number; expiresAt: Date }> {
  const policy = await findPolicy(db, 'override')
  const expiresMs = (policy?.expires_hours ?? defaultExpiresHours) * 3_600_000
  return {
    needed: Math.max(leastNeeded.override ?? 0, policy?.needed ?? 0),
    expiresAt: new Date(now.getTime() + expiresMs),
  }
}

/** How many others have to agree to this kind of thing; none by default. */
export async function neededFor(db: Db, kind: ApprovalKind): Promise<number> {
  return (await findPolicy(db, kind))?.needed ?? 0
}

import type { Selectable } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { PersonInvitationTable } from '../db/sign-in-tables.ts'

export type Invitation = Selectable<PersonInvitationTable>

/** An invitation that still opens something. */
export async function findInvitation(
  db: Db,
  hash: Buffer,
  now: Date,
): Promise<Invitation | undefined> {
  return await db
    .selectFrom('person_invitation')
    .selectAll()
    .where('token_hash', '=', hash)
    .where('used_at', 'is', null)
    .where('expires_at', '>', now)
    .executeTakeFirst()
}

/** The open invitation of a person, if there is one. */
export async function openInvitation(
  db: Db,
  personId: string,
  now: Date,
): Promise<Invitation | undefined> {
  return await db
    .selectFrom('person_invitation')
    .selectAll()
    .where('person_id', '=', personId)
    .where('used_at', 'is', null)
    .where('expires_at', '>', now)
    .executeTakeFirst()
}

export async function getInvitation(db: Db, id: string): Promise<Invitation | undefined> {
  return await db
    .selectFrom('person_invitation')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirst()
}

/** The one before is void. False when this id is stored already. */
export async function insertInvitation(
  tx: Tx,
  invitation: Omit<Invitation, 'used_at'>,
): Promise<boolean> {
  const known = await getInvitation(tx, invitation.id)
  if (known) return false
  await tx
    .deleteFrom('person_invitation')
    .where('person_id', '=', invitation.person_id)
    .where('used_at', 'is', null)
    .execute()
  await tx
    .insertInto('person_invitation')
    .values({ ...invitation, used_at: null })
    .execute()
  return true
}

/** False when it was used, or replaced, or is over. */
export async function useInvitation(tx: Tx, id: string, now: Date): Promise<boolean> {
  const row = await tx
    .updateTable('person_invitation')
    .set({ used_at: now })
    .where('id', '=', id)
    .where('used_at', 'is', null)
    .where('expires_at', '>', now)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Removes invitations that ended before an instant, at most `limit`. Returns how many. */
export async function forgetInvitations(tx: Tx, before: Date, limit: number): Promise<number> {
  const rows = await tx
    .deleteFrom('person_invitation')
    .where('id', 'in', (eb) =>
      eb
        .selectFrom('person_invitation')
        .select('id')
        .where('expires_at', '<', before)
        .orderBy('expires_at')
        .limit(limit),
    )
    .returning('id')
    .execute()
  return rows.length
}

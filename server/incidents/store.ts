import type { Selectable } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { IncidentTable } from '../db/schema.ts'

export type Incident = Selectable<IncidentTable>

/** What a group is, apart from who is in it. */
export async function findGroup(
  db: Db,
  groupId: string,
): Promise<{ name: string; query: string | null } | undefined> {
  return await db
    .selectFrom('device_group')
    .select(['name', 'query'])
    .where('id', '=', groupId)
    .executeTakeFirst()
}

export async function findOpenIncident(db: Db, groupId: string): Promise<Incident | undefined> {
  return await db
    .selectFrom('incident')
    .selectAll()
    .where('group_id', '=', groupId)
    .where('closed_at', 'is', null)
    .executeTakeFirst()
}

/** Returns undefined when the group has an open incident: one at a time. */
export async function openIncident(
  tx: Tx,
  row: Pick<Incident, 'id' | 'group_id' | 'reason' | 'opened_by' | 'opened_at'>,
): Promise<Incident | undefined> {
  return await tx
    .insertInto('incident')
    .values({ ...row, closed_by: null, closed_at: null })
    .onConflict((oc) => oc.column('group_id').where('closed_at', 'is', null).doNothing())
    .returningAll()
    .executeTakeFirst()
}

export async function closeIncident(
  tx: Tx,
  groupId: string,
  { by, now }: { by: string; now: Date },
): Promise<Incident | undefined> {
  return await tx
    .updateTable('incident')
    .set({ closed_by: by, closed_at: now })
    .where('group_id', '=', groupId)
    .where('closed_at', 'is', null)
    .returningAll()
    .executeTakeFirst()
}

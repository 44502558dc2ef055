import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { ArtifactTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { Reach } from '../protocol/reach.ts'

export type Artifact = Selectable<ArtifactTable>

/** What one device shall have set is about that device: who is limited to groups sees it there (GET /devices/:deviceId/settings), and not here. */
function artifacts(db: Db, reach: Reach) {
  const all = db.selectFrom('artifact').selectAll()
  if (reach === 'fleet') return all
  return all.where(
    sql<boolean>`not exists (select from device_settings own where own.sha256 = artifact.sha256)`,
  )
}

export async function getArtifact(db: Db, id: string, reach: Reach): Promise<Artifact> {
  const row = await artifacts(db, reach).where('id', '=', id).executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such artifact', { artifactId: id })
  return row
}

/** Newest first; `before` is the id of the last one seen. */
export async function listArtifacts(
  db: Db,
  page: { reach: Reach; before: string | undefined; limit: number },
): Promise<Artifact[]> {
  return await artifacts(db, page.reach)
    .$if(page.before !== undefined, (query) => query.where('id', '<', page.before ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
}

/** The row of these bytes, whoever brought them first; `isNew` says whether this call made it. */
export async function insertArtifact(
  tx: Tx,
  row: Artifact,
): Promise<{ artifact: Artifact; isNew: boolean }> {
  const inserted = await tx
    .insertInto('artifact')
    .values(row)
    .onConflict((oc) => oc.column('sha256').doNothing())
    .returningAll()
    .executeTakeFirst()
  if (inserted) return { artifact: inserted, isNew: true }
  const artifact = await tx
    .selectFrom('artifact')
    .selectAll()
    .where('sha256', '=', row.sha256)
    .executeTakeFirstOrThrow()
  return { artifact, isNew: false }
}

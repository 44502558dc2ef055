import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type {
  MetadataFileTable,
  MetadataSignatureTable,
  OnlineKeyTable,
  ReleaseKeyTable,
} from '../db/schema.ts'
import { DomainError } from '../errors.ts'

export type MetadataFile = Selectable<MetadataFileTable>
export type MetadataSignature = Selectable<MetadataSignatureTable>
export type OnlineKeyRow = Selectable<OnlineKeyTable>
export type ReleaseKey = Selectable<ReleaseKeyTable>

type Role = Pick<MetadataFile, 'repository' | 'role'>
type Version = Role & Pick<MetadataFile, 'version'>

/** Whoever writes metadata holds this one row: publications, drafts and signing again happen one after another. */
export async function lockMetadata(tx: Tx): Promise<void> {
  const row = await tx
    .selectFrom('online_key')
    .select('keyid')
    .where('repository', '=', 'image')
    .where('role', '=', 'snapshot')
    .forUpdate()
    .executeTakeFirst()
  if (!row) throw new DomainError('not-ready', 'The online role keys are not made yet')
}

/** The newest published version of every role, in one statement, so that they belong together. */
export async function readNewest(db: Db): Promise<MetadataFile[]> {
  return await db
    .selectFrom('metadata_file')
    .selectAll()
    .distinctOn(['repository', 'role'])
    .where('state', '=', 'published')
    .orderBy('repository')
    .orderBy('role')
    .orderBy('version', 'desc')
    .execute()
}

/** Every root of both repositories, oldest first. */
export async function readRoots(db: Db): Promise<MetadataFile[]> {
  return await db
    .selectFrom('metadata_file')
    .selectAll()
    .where('role', '=', 'root')
    .where('state', '=', 'published')
    .orderBy('repository')
    .orderBy('version')
    .execute()
}

export async function readDrafts(db: Db): Promise<MetadataFile[]> {
  return await db
    .selectFrom('metadata_file')
    .selectAll()
    .where('state', '=', 'draft')
    .orderBy('repository')
    .orderBy('role')
    .execute()
}

export async function findDraft(
  db: Db,
  { repository, role }: Role,
): Promise<MetadataFile | undefined> {
  return await db
    .selectFrom('metadata_file')
    .selectAll()
    .where('repository', '=', repository)
    .where('role', '=', role)
    .where('state', '=', 'draft')
    .executeTakeFirst()
}

export async function findVersion(db: Db, key: Version): Promise<MetadataFile | undefined> {
  return await db
    .selectFrom('metadata_file')
    .selectAll()
    .where('repository', '=', key.repository)
    .where('role', '=', key.role)
    .where('version', '=', key.version)
    .executeTakeFirst()
}

export async function findNewest(
  db: Db,
  { repository, role }: Role,
): Promise<MetadataFile | undefined> {
  return await db
    .selectFrom('metadata_file')
    .selectAll()
    .where('repository', '=', repository)
    .where('role', '=', role)
    .where('state', '=', 'published')
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst()
}

export async function insertFiles(tx: Tx, rows: MetadataFile[]): Promise<void> {
  await tx.insertInto('metadata_file').values(rows).execute()
}

/** Sets a draft aside. Its number stays taken (see nextVersion). */
export async function discardDraft(tx: Tx, draft: Version): Promise<void> {
  await tx
    .updateTable('metadata_file')
    .set({ state: 'discarded' })
    .where('repository', '=', draft.repository)
    .where('role', '=', draft.role)
    .where('version', '=', draft.version)
    .where('state', '=', 'draft')
    .execute()
}

/** The number of the next draft: no number that was ever given out for signing, published or not, comes again. */
export async function nextVersion(db: Db, { repository, role }: Role): Promise<number> {
  const { highest } = await db
    .selectFrom('metadata_file')
    .select(({ fn }) => fn.max<number | null>('version').as('highest'))
    .where('repository', '=', repository)
    .where('role', '=', role)
    .executeTakeFirstOrThrow()
  return (highest ?? 0) + 1
}

/** Drops a draft with the signatures it has, number and all: for roots, whose numbers have no gaps. */
export async function deleteDraft(tx: Tx, draft: Version): Promise<void> {
  await tx
    .deleteFrom('metadata_signature')
    .where('repository', '=', draft.repository)
    .where('role', '=', draft.role)
    .where('version', '=', draft.version)
    .execute()
  await tx
    .deleteFrom('metadata_file')
    .where('repository', '=', draft.repository)
    .where('role', '=', draft.role)
    .where('version', '=', draft.version)
    .where('state', '=', 'draft')
    .execute()
}

/** Makes a draft the published version if it is still this draft; false when it is not. */
export async function markPublished(
  tx: Tx,
  draft: MetadataFile,
  { envelope, now }: { envelope: string; now: Date },
): Promise<boolean> {
  const row = await tx
    .updateTable('metadata_file')
    .set({ state: 'published', envelope, published_at: now })
    .where('repository', '=', draft.repository)
    .where('role', '=', draft.role)
    .where('version', '=', draft.version)
    .where('state', '=', 'draft')
    .where('signed_sha256', '=', draft.signed_sha256)
    .returning('version')
    .executeTakeFirst()
  return row !== undefined
}

/** Old image timestamps have no address of their own: only the newest is ever served. */
export async function deleteOldTimestamps(tx: Tx, before: Date): Promise<void> {
  await tx
    .deleteFrom('metadata_file')
    .where('repository', '=', 'image')
    .where('role', '=', 'timestamp')
    .where('created_at', '<', before)
    .where('version', '<', (eb) =>
      eb
        .selectFrom('metadata_file')
        .select(({ fn }) => fn.max<number>('version').as('newest'))
        .where('repository', '=', 'image')
        .where('role', '=', 'timestamp'),
    )
    .execute()
}

export async function listSignatures(db: Db, key: Version): Promise<MetadataSignature[]> {
  return await db
    .selectFrom('metadata_signature')
    .selectAll()
    .where('repository', '=', key.repository)
    .where('role', '=', key.role)
    .where('version', '=', key.version)
    .orderBy('at')
    .orderBy('keyid')
    .execute()
}

/** Key ids whose signature is new; one key signs a version once. */
export async function insertSignatures(tx: Tx, rows: MetadataSignature[]): Promise<string[]> {
  const inserted = await tx
    .insertInto('metadata_signature')
    .values(rows)
    .onConflict((oc) => oc.columns(['repository', 'role', 'version', 'keyid']).doNothing())
    .returning('keyid')
    .execute()
  return inserted.map((row) => row.keyid)
}

/** Of drafts: how many keys signed each. */
export async function countSignatures(db: Db): Promise<(Version & { signatures: number })[]> {
  return await db
    .selectFrom('metadata_signature as s')
    .innerJoin('metadata_file as f', (join) =>
      join
        .onRef('f.role', '=', 's.role')
        .onRef('f.version', '=', 's.version')
        .on(sql<boolean>`f.repository = s.repository`),
    )
    .where('f.state', '=', 'draft')
    .where('s.scheme', '=', 'ed25519')
    .groupBy(['f.repository', 'f.role', 'f.version'])
    .select(({ fn }) => [
      'f.repository',
      'f.role',
      'f.version',
      fn.countAll<number>().as('signatures'),
    ])
    .execute()
}

export async function listOnlineKeys(db: Db): Promise<OnlineKeyRow[]> {
  return await db.selectFrom('online_key').selectAll().execute()
}

/** The rows that were not there yet. */
export async function insertOnlineKeys(tx: Tx, rows: OnlineKeyRow[]): Promise<OnlineKeyRow[]> {
  return await tx
    .insertInto('online_key')
    .values(rows)
    .onConflict((oc) => oc.columns(['repository', 'role']).doNothing())
    .returningAll()
    .execute()
}

/** The next keys of roles that have none waiting, or of all when it is asked again; gives the rows that were changed. */
export async function setNextKeys(
  tx: Tx,
  rows: readonly OnlineKeyRow[],
  { again }: { again: boolean },
): Promise<OnlineKeyRow[]> {
  const changed: OnlineKeyRow[] = []
  for (const row of rows) {
    const updated = await tx
      .updateTable('online_key')
      .set({
        next_keyid: row.keyid,
        next_public: row.public,
        next_wrapped_key: row.wrapped_key,
        next_created_at: row.created_at,
      })
      .where('repository', '=', row.repository)
      .where('role', '=', row.role)
      .$if(!again, (query) => query.where('next_keyid', 'is', null))
      .returningAll()
      .execute()
    changed.push(...updated)
  }
  return changed
}

/** Puts waiting keys in the place of the ones in use, which are gone then. Gives the roles whose key waited still. */
export async function activateNextKeys(
  tx: Tx,
  repository: OnlineKeyRow['repository'],
  keyids: readonly string[],
): Promise<Pick<OnlineKeyRow, 'role' | 'keyid'>[]> {
  return await tx
    .updateTable('online_key')
    .set((eb) => ({
      keyid: sql<string>`next_keyid`,
      public: sql<string>`next_public`,
      wrapped_key: sql<Buffer>`next_wrapped_key`,
      created_at: sql<Date>`next_created_at`,
      next_keyid: eb.val(null),
      next_public: eb.val(null),
      next_wrapped_key: eb.val(null),
      next_created_at: eb.val(null),
    }))
    .where('repository', '=', repository)
    .where('next_keyid', '=', sql<string>`any(${[...keyids]}::text[])`)
    .returning(['role', 'keyid'])
    .execute()
}

export async function lockOnlineKeys(tx: Tx): Promise<OnlineKeyRow[]> {
  return await tx
    .selectFrom('online_key')
    .selectAll()
    .orderBy('repository')
    .orderBy('role')
    .forUpdate()
    .execute()
}

export async function setWrappedOnlineKey(
  tx: Tx,
  { repository, role }: Pick<OnlineKeyRow, 'repository' | 'role'>,
  wrapped: { active: Buffer; next: Buffer | null },
): Promise<void> {
  await tx
    .updateTable('online_key')
    .set({ wrapped_key: wrapped.active, next_wrapped_key: wrapped.next })
    .where('repository', '=', repository)
    .where('role', '=', role)
    .execute()
}

export async function listReleaseKeys(db: Db): Promise<ReleaseKey[]> {
  return await db.selectFrom('release_key').selectAll().orderBy('name').execute()
}

export async function insertReleaseKeys(tx: Tx, rows: ReleaseKey[]): Promise<void> {
  await tx
    .insertInto('release_key')
    .values(rows)
    .onConflict((oc) => oc.column('keyid').doNothing())
    .execute()
}

export async function replaceReleaseKeys(tx: Tx, rows: ReleaseKey[]): Promise<void> {
  await tx.deleteFrom('release_key').execute()
  await tx.insertInto('release_key').values(rows).execute()
}

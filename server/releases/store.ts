import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { ReleaseTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { DdiProfile } from '../protocol/ddi.ts'
import type { ReleaseState } from './state.ts'

export type Release = Selectable<ReleaseTable>

/** A release with the bytes it is. */
export type ReleaseWithBytes = Release & { sha256: string; size: number }

export async function findRelease(db: Db, id: string): Promise<Release | undefined> {
  return await db.selectFrom('release').selectAll().where('id', '=', id).executeTakeFirst()
}

export async function getRelease(db: Db, id: string): Promise<Release> {
  const row = await findRelease(db, id)
  if (!row) throw new DomainError('not-found', 'No such release', { releaseId: id })
  return row
}

/** Newest first; `before` is the id of the last one seen. */
export async function listReleases(
  db: Db,
  filter: { model: string | undefined; before: string | undefined; limit: number },
): Promise<Release[]> {
  let query = db.selectFrom('release').selectAll()
  if (filter.model !== undefined) query = query.where('model', '=', filter.model)
  if (filter.before !== undefined) query = query.where('id', '<', filter.before)
  return await query.orderBy('id', 'desc').limit(filter.limit).execute()
}

export type NewRelease = Omit<
  Release,
  'state' | 'metadata_version' | 'published_at' | 'requires' | 'advisory' | 'mixed_reason'
> & {
  /** JSON texts. */
  requires: string
  advisory: string | null
  mixed_reason: string | null
}

/** False when the id, or the version or build of a release that is not withdrawn, is there already. */
export async function insertRelease(tx: Tx, row: NewRelease): Promise<boolean> {
  const inserted = await tx
    .insertInto('release')
    .values(row)
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

/** Moves a release only if it is still where the caller saw it. */
export async function moveRelease(
  tx: Tx,
  id: string,
  from: ReleaseState,
  to: ReleaseState,
): Promise<Release> {
  const row = await tx
    .updateTable('release')
    .set({ state: to })
    .where('id', '=', id)
    .where('state', '=', from)
    .returningAll()
    .executeTakeFirst()
  if (row) return row
  throw new DomainError('conflict', 'The release changed meanwhile', { releaseId: id, from })
}

export async function findModelHardware(db: Db, model: string): Promise<string[]> {
  const row = await db
    .selectFrom('model')
    .select('hardware_ids')
    .where('name', '=', model)
    .executeTakeFirst()
  if (!row) throw new DomainError('invalid-request', 'No such model', { at: 'model', model })
  return row.hardware_ids
}

export async function artifactExists(db: Db, id: string): Promise<boolean> {
  const row = await db.selectFrom('artifact').select('id').where('id', '=', id).executeTakeFirst()
  return row !== undefined
}

/** Whether this version of a component was ever published, withdrawn since or not: devices may hold it. */
export async function wasPublished(
  db: Db,
  { model, component, version }: Pick<Release, 'model' | 'component' | 'version'>,
): Promise<boolean> {
  const row = await db
    .selectFrom('release')
    .select('id')
    .where('model', '=', model)
    .where('component', '=', component)
    .where('version', '=', version)
    .where('published_at', 'is not', null)
    .executeTakeFirst()
  return row !== undefined
}

export async function shaOf(db: Db, artifactId: string): Promise<string> {
  const { sha256 } = await db
    .selectFrom('artifact')
    .select('sha256')
    .where('id', '=', artifactId)
    .executeTakeFirstOrThrow()
  return sha256
}

/** Which client polls for this component on devices of the model; undefined when none does. */
export async function findPollingProfile(
  db: Db,
  { model, component }: Pick<Release, 'model' | 'component'>,
): Promise<DdiProfile | undefined> {
  const row = await db
    .selectFrom('ddi_product')
    .select('profile')
    .where('model', '=', model)
    .where('component', '=', component)
    .executeTakeFirst()
  return row?.profile
}

/** The newest published schema of a model's settings. */
export async function newestSchema(
  db: Db,
  model: string,
): Promise<{ id: string; sha256: string } | undefined> {
  return await db
    .selectFrom('release')
    .innerJoin('artifact', 'artifact.id', 'release.artifact_id')
    .select(['release.id', 'artifact.sha256'])
    .where('release.model', '=', model)
    .where('release.component', '=', 'cfgschema')
    .where('release.state', '=', 'published')
    .orderBy('release.build', 'desc')
    .limit(1)
    .executeTakeFirst()
}

export async function listSubmitted(db: Db, model: string): Promise<ReleaseWithBytes[]> {
  return await db
    .selectFrom('release')
    .innerJoin('artifact', 'artifact.id', 'release.artifact_id')
    .selectAll('release')
    .select(['artifact.sha256', 'artifact.size'])
    .where('release.model', '=', model)
    .where('release.state', '=', 'submitted')
    .orderBy('release.build')
    .execute()
}

export interface ReleaseFate {
  component: string
  version: string
  build: number
  state: ReleaseState
  /** A rollout that is not over still gives it out. */
  rolling: boolean
}

/** Of every release that was published: what became of it. */
export async function listPublishedFates(db: Db, model: string): Promise<ReleaseFate[]> {
  return await db
    .selectFrom('release')
    .where('model', '=', model)
    .where('published_at', 'is not', null)
    .select((eb) => [
      'component',
      'version',
      'build',
      'state',
      eb
        .exists(
          eb
            .selectFrom('rollout')
            .select('rollout.id')
            .leftJoin('rollout_companion as along', 'along.rollout_id', 'rollout.id')
            .where((or) =>
              or.or([
                or('rollout.release_id', '=', or.ref('release.id')),
                or('along.release_id', '=', or.ref('release.id')),
              ]),
            )
            .where('rollout.state', 'in', ['draft', 'approved', 'running', 'paused']),
        )
        .$castTo<boolean>()
        .as('rolling'),
    ])
    .execute()
}

/** Which version of the model's file the submitted releases wait in; null when there is none. */
export async function setDraftedVersion(
  tx: Tx,
  ids: readonly string[],
  version: number | null,
): Promise<void> {
  await tx
    .updateTable('release')
    .set({ metadata_version: version })
    .where('id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .where('state', '=', 'submitted')
    .execute()
}

/** Submitted releases whose build is in the file that is being published become published. Gives their ids. */
export async function publishListed(
  tx: Tx,
  model: string,
  listed: { components: string[]; builds: number[]; version: number; now: Date },
): Promise<string[]> {
  const { components, builds, version, now } = listed
  const rows = await tx
    .updateTable('release')
    .set({ state: 'published', metadata_version: version, published_at: now })
    .where('model', '=', model)
    .where('state', '=', 'submitted')
    .where(
      sql<boolean>`(component, build) in (select * from unnest(${components}::text[], ${builds}::bigint[]))`,
    )
    .returning('id')
    .execute()
  return rows.map((row) => row.id)
}

/** Versions of a component that were ever published and not withdrawn. */
export async function publishedVersions(
  db: Db,
  { model, component }: Pick<Release, 'model' | 'component'>,
): Promise<string[]> {
  const rows = await db
    .selectFrom('release')
    .select('version')
    .where('model', '=', model)
    .where('component', '=', component)
    .where('state', '=', 'published')
    .execute()
  return rows.map(({ version }) => version)
}

/** Versions of a component that devices run, each once; at most `most` of them. */
export async function installedVersions(
  db: Db,
  { model, component }: Pick<Release, 'model' | 'component'>,
  most: number,
): Promise<string[]> {
  const { rows } = await sql<{ version: string }>`
    select distinct runs.version
    from device cross join lateral jsonb_to_recordset(device.installed) runs(component text, version text)
    where device.model = ${model} and device.state in ('active', 'disabled') and runs.component = ${component}
    limit ${most}`.execute(db)
  return rows.map(({ version }) => version)
}

type Range = Pick<Release, 'id' | 'model' | 'component' | 'build' | 'hardware_ids'> & {
  min_previous: number
}

/** A hardware id of the release that no other one is for that is published, or about to be, with a build from the least one on. */
export async function unreachableHardware(db: Db, release: Range): Promise<string | undefined> {
  const { id, model, component, build, min_previous, hardware_ids } = release
  const { rows } = await sql<{ hardware: string }>`
    select hardware from unnest(${hardware_ids}::text[]) hardware
    where not exists (select from release step
      where step.model = ${model} and step.component = ${component} and step.id <> ${id}
        and step.state in ('submitted', 'published') and hardware = any(step.hardware_ids)
        and step.build >= ${min_previous} and step.build < ${build})
    limit 1`.execute(db)
  return rows[0]?.hardware
}

export async function isRunSince(db: Db, release: Range): Promise<boolean> {
  const { model, component, build, min_previous } = release
  const { rows } = await sql`
    select from device cross join lateral jsonb_to_recordset(device.installed) runs(component text, build bigint)
    where device.model = ${model} and runs.component = ${component}
      and runs.build >= ${min_previous} and runs.build < ${build}
    limit 1`.execute(db)
  return rows.length > 0
}

import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { DeliveryFormTable } from '../db/schema.ts'
import { newId } from '../ids.ts'
import type { FormReason } from './state.ts'

export type Form = Selectable<DeliveryFormTable>

/** A published release that devices may be on their way to. */
export interface PlannableRelease {
  id: string
  model: string
  component: string
  sha256: string
}

const never = new Date(0)

/**
 * Releases with an image of at least `minBytes` that nobody looked at since `before`, or since a rollout of it was started: the
 * newest of each component, and those that a rollout is about. Oldest look first.
 */
export async function releasesToPlan(
  db: Db,
  { before, minBytes, limit }: { before: Date; minBytes: number; limit: number },
): Promise<PlannableRelease[]> {
  return await db
    .selectFrom('release')
    .innerJoin('artifact', 'artifact.id', 'release.artifact_id')
    .leftJoin('delivery_plan as plan', 'plan.release_id', 'release.id')
    .where('release.state', '=', 'published')
    .where('artifact.size', '>=', minBytes)
    .where(
      sql<boolean>`(coalesce(plan.planned_at, ${never}::timestamptz) < ${before}::timestamptz
        or exists (select from rollout where rollout.release_id = release.id
          and rollout.started_at > plan.planned_at))`,
    )
    .where(
      sql<boolean>`(
        not exists (select from release newer where newer.model = release.model
          and newer.component = release.component and newer.state = 'published'
          and newer.build > release.build)
        or exists (select from rollout where rollout.release_id = release.id
          and rollout.state in ('draft', 'approved', 'running', 'paused')))`,
    )
    .orderBy(sql`coalesce(plan.planned_at, ${never}::timestamptz)`)
    .orderBy('release.id')
    .limit(limit)
    .select(['release.id', 'release.model', 'release.component', 'artifact.sha256'])
    .execute()
}

/** Images that most active devices of the model run and whose bytes are here; never the target itself. */
export async function basesOf(
  db: Db,
  { model, component, sha256 }: Omit<PlannableRelease, 'id'>,
  limit: number,
): Promise<string[]> {
  const { rows } = await sql<{ sha256: string }>`
    select runs.sha256 from device
    cross join jsonb_to_recordset(device.installed) runs(component text, sha256 text)
    join artifact on artifact.sha256 = runs.sha256
    where device.model = ${model} and device.state = 'active'
      and runs.component = ${component} and runs.sha256 <> ${sha256}
    group by runs.sha256 order by count(*) desc, runs.sha256 limit ${limit}`.execute(db)
  return rows.map((row) => row.sha256)
}

/** Notes the look, and what is to be made of it; what is there already stays as it is. */
export async function plan(
  tx: Tx,
  {
    release,
    bases,
    maxBases,
    now,
  }: {
    release: PlannableRelease
    bases: readonly string[]
    maxBases: number
    now: Date
  },
): Promise<void> {
  await tx
    .insertInto('delivery_plan')
    .values({ release_id: release.id, planned_at: now })
    .onConflict((oc) => oc.column('release_id').doUpdateSet({ planned_at: now }))
    .execute()
  const known = await tx
    .selectFrom('delivery_form')
    .select('base_sha256')
    .where('target_sha256', '=', release.sha256)
    .execute()
  const there = new Set(known.map((form) => form.base_sha256))
  const room = maxBases - known.filter((form) => form.base_sha256 !== null).length
  const wanted: { method: Form['method']; base_sha256: string | null }[] = [
    ...(there.has(null) ? [] : [{ method: 'zstd' as const, base_sha256: null }]),
    ...bases
      .filter((base) => !there.has(base))
      .slice(0, Math.max(0, room))
      .map((base) => ({ method: 'delta-z1' as const, base_sha256: base })),
  ]
  if (wanted.length === 0) return
  const common = { target_sha256: release.sha256, created_at: now, changed_at: now }
  await tx
    .insertInto('delivery_form')
    .values(wanted.map((form) => ({ id: newId(now), ...form, ...common })))
    .onConflict((oc) => oc.doNothing())
    .execute()
}

export interface Claim {
  lease: string
  now: Date
  until: Date
}

/**
 * The next form to make, for whoever holds `lease` until then; undefined when there is none. A delta waits for the zstd form of
 * its target, which it must beat.
 */
export async function claimForm(tx: Tx, { lease, now, until }: Claim): Promise<Form | undefined> {
  return await tx
    .updateTable('delivery_form')
    .set({
      lease,
      leased_until: until,
      attempts: sql<number>`attempts + 1`,
      changed_at: now,
    })
    .where('id', '=', (eb) =>
      eb
        .selectFrom('delivery_form as form')
        .select('form.id')
        .where('form.state', '=', 'waiting')
        .where(
          sql<boolean>`coalesce(form.leased_until, ${never}::timestamptz) < ${now}::timestamptz`,
        )
        .where(
          sql<boolean>`(form.method = 'zstd' or not exists (
            select from delivery_form first where first.target_sha256 = form.target_sha256
              and first.method = 'zstd' and first.state = 'waiting'))`,
        )
        .orderBy('form.created_at')
        .orderBy('form.id')
        .limit(1)
        .forUpdate()
        .skipLocked(),
    )
    .returningAll()
    .executeTakeFirst()
}

/** Whether it is still held. */
export async function extendLease(
  tx: Tx,
  { id, lease, until }: { id: string; lease: string; until: Date },
): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('delivery_form')
    .set({ leased_until: until })
    .where('id', '=', id)
    .where('lease', '=', lease)
    .executeTakeFirst()
  return numUpdatedRows > 0n
}

/** Not now: somebody may try it again from that time on. `isTry` when it failed, and was not only interrupted. */
export async function releaseLease(
  tx: Tx,
  { id, lease, from, isTry }: { id: string; lease: string; from: Date; isTry: boolean },
): Promise<void> {
  await tx
    .updateTable('delivery_form')
    .set({
      lease: null,
      leased_until: from,
      ...(!isTry && { attempts: sql<number>`attempts - 1` }),
    })
    .where('id', '=', id)
    .where('lease', '=', lease)
    .execute()
}

export type FormOutcome =
  | { state: 'refused'; reason: FormReason; cpu_ms: number | null }
  | ({ state: 'made' } & {
      [K in 'sha256' | 'length' | 'cpu_ms']: NonNullable<Form[K]>
    } & Pick<Form, 'index_length' | 'index_sha256' | 'block_bytes'>)

/** Whether the lease was still held, so that the outcome counts. */
export async function endForm(
  tx: Tx,
  { id, lease, outcome, now }: { id: string; lease: string; outcome: FormOutcome; now: Date },
): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('delivery_form')
    .set({ ...outcome, lease: null, leased_until: null, changed_at: now })
    .where('id', '=', id)
    .where('lease', '=', lease)
    .where('state', '=', 'waiting')
    .executeTakeFirst()
  return numUpdatedRows > 0n
}

/** SHA-256 of a release's image; undefined when there is no such release. */
export async function imageOf(db: Db, releaseId: string): Promise<string | undefined> {
  const row = await db
    .selectFrom('release')
    .innerJoin('artifact', 'artifact.id', 'release.artifact_id')
    .select('artifact.sha256')
    .where('release.id', '=', releaseId)
    .executeTakeFirst()
  return row?.sha256
}

/** Of these bytes, newest first; `before` is the id of the last one seen. */
export async function formsOf(
  db: Db,
  targetSha256: string,
  { before, limit }: { before: string | undefined; limit: number },
): Promise<Form[]> {
  return await db
    .selectFrom('delivery_form')
    .selectAll()
    .where('target_sha256', '=', targetSha256)
    .$if(before !== undefined, (query) => query.where('id', '<', before ?? ''))
    .orderBy('id', 'desc')
    .limit(limit)
    .execute()
}

/** How long the zstd form of these bytes is; undefined when there is none. */
export async function zstdLength(db: Db, targetSha256: string): Promise<number | undefined> {
  const row = await db
    .selectFrom('delivery_form')
    .select('length')
    .where('target_sha256', '=', targetSha256)
    .where('method', '=', 'zstd')
    .where('state', '=', 'made')
    .executeTakeFirst()
  return row?.length ?? undefined
}

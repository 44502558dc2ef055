import { type Insertable, type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { rolloutCovered } from '../db/reach.ts'
import type { ReleaseTable, RolloutPhaseTable, RolloutTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import type { Reach } from '../protocol/reach.ts'
import type { RolloutState } from './state.ts'

export type Rollout = Selectable<RolloutTable>
export type Phase = Selectable<RolloutPhaseTable>
export type NewRollout = Insertable<RolloutTable>

/** Without what only the engine writes. */
export type NewPhase = Omit<
  Insertable<RolloutPhaseTable>,
  'rollout_id' | 'opened_at' | 'admitted' | 'met_at' | 'held_at'
>

export async function findRollout(db: Db, id: string): Promise<Rollout | undefined> {
  return await db.selectFrom('rollout').selectAll().where('id', '=', id).executeTakeFirst()
}

export async function getRollout(db: Db, id: string): Promise<Rollout> {
  const row = await findRollout(db, id)
  if (!row) throw new DomainError('not-found', 'No such rollout', { rolloutId: id })
  return row
}

/** The same, held until the transaction ends: decisions about it are made one after the other. What devices report does not wait. */
export async function lockRollout(tx: Tx, id: string): Promise<Rollout> {
  const row = await tx
    .selectFrom('rollout')
    .selectAll()
    .where('id', '=', id)
    .forNoKeyUpdate()
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such rollout', { rolloutId: id })
  return row
}

/** Newest first; `before` is the id of the last one seen. */
export async function listRollouts(
  db: Db,
  filter: {
    reach: Reach
    state?: RolloutState | undefined
    groupId?: string | undefined
    before?: string | undefined
  },
  limit: number,
): Promise<Rollout[]> {
  const { reach, state, groupId, before } = filter
  let query = db.selectFrom('rollout').selectAll().orderBy('id', 'desc').limit(limit)
  if (reach !== 'fleet') query = query.where(rolloutCovered('rollout.id', reach))
  if (state) query = query.where('state', '=', state)
  if (groupId) query = query.where('group_id', '=', groupId)
  if (before) query = query.where('id', '<', before)
  return await query.execute()
}

export async function phasesOf(db: Db, rolloutIds: readonly string[]): Promise<Phase[]> {
  return await db
    .selectFrom('rollout_phase')
    .selectAll()
    .where('rollout_id', '=', sql<string>`any(${[...rolloutIds]}::uuid[])`)
    .orderBy('rollout_id')
    .orderBy('no')
    .execute()
}

/** The releases that come with those of the rollouts, by component. */
export async function companionsOf(
  db: Db,
  rolloutIds: readonly string[],
): Promise<{ rollout_id: string; release_id: string }[]> {
  return await db
    .selectFrom('rollout_companion')
    .select(['rollout_id', 'release_id'])
    .where('rollout_id', '=', sql<string>`any(${[...rolloutIds]}::uuid[])`)
    .orderBy('rollout_id')
    .orderBy('component')
    .execute()
}

/** A release of the rollout that is not published; undefined when all are. */
export async function notPublishedOf(db: Db, rolloutId: string): Promise<string | undefined> {
  const { rows } = await sql<{ id: string }>`
    select release.id from release
    where release.state <> 'published' and release.id in (
      select release_id from rollout where id = ${rolloutId}
      union all select release_id from rollout_companion where rollout_id = ${rolloutId})
    limit 1`.execute(db)
  return rows[0]?.id
}

export async function releasesById(
  db: Db,
  ids: readonly string[],
): Promise<
  Pick<Selectable<ReleaseTable>, 'id' | 'model' | 'component' | 'version' | 'build' | 'state'>[]
> {
  return await db
    .selectFrom('release')
    .select(['id', 'model', 'component', 'version', 'build', 'state'])
    .where('id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .execute()
}

export interface Count {
  rollout_id: string
  phase_no: number
  state: DeploymentState
  n: number
}

/** How many deployments of each phase are in each state, from the kept counts: no deployment is read. */
export async function countsOf(db: Db, rolloutIds: readonly string[]): Promise<Count[]> {
  return await db
    .selectFrom('deployment_count')
    .select(['rollout_id', 'phase_no', 'state', sql<number>`sum(n)::int`.as('n')])
    .where('rollout_id', '=', sql<string>`any(${[...rolloutIds]}::uuid[])`)
    .groupBy(['rollout_id', 'phase_no', 'state'])
    .having(sql`sum(n)`, '>', 0)
    .execute()
}

/** Inserts the rollout and its phases; undefined when the id is taken, which means that the request came again. */
export async function insertRollout(
  tx: Tx,
  rollout: NewRollout,
  phases: readonly NewPhase[],
  companions: readonly { id: string; component: string }[],
): Promise<{ rollout: Rollout; phases: Phase[] } | undefined> {
  const inserted = await tx
    .insertInto('rollout')
    .values(rollout)
    .onConflict((oc) => oc.column('id').doNothing())
    .returningAll()
    .executeTakeFirst()
  if (!inserted) return undefined
  const insertedPhases = await tx
    .insertInto('rollout_phase')
    .values(phases.map((phase) => ({ ...phase, rollout_id: rollout.id, opened_at: null })))
    .returningAll()
    .execute()
  if (companions.length > 0) {
    await tx
      .insertInto('rollout_companion')
      .values(
        companions.map(({ id: release_id, component }) => ({
          rollout_id: rollout.id,
          release_id,
          component,
        })),
      )
      .execute()
  }
  return { rollout: inserted, phases: insertedPhases }
}

/** Says what people will approve: the hash of the rows as they are now. */
export async function sealDefinition(tx: Tx, id: string, definitionHash: Buffer): Promise<Rollout> {
  return await tx
    .updateTable('rollout')
    .set({ definition_hash: definitionHash })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow()
}

/**
 * Moves a rollout only if it is still where the caller saw it, phase and definition included.
 * Two operators pressing different buttons get one winner and one conflict, without a row lock.
 */
export async function moveRollout(
  tx: Tx,
  before: Rollout,
  set: Partial<Rollout> & { state: RolloutState },
  now: Date,
): Promise<Rollout> {
  const row = await tx
    .updateTable('rollout')
    // Strictly later than before, whatever the clock says: others tell by it that something changed.
    .set({ ...set, changed_at: sql<Date>`greatest(${now}, changed_at + interval '1 millisecond')` })
    .where('id', '=', before.id)
    .where('state', '=', before.state)
    .where('phase_no', '=', before.phase_no)
    .where(sql<boolean>`definition_hash is not distinct from ${before.definition_hash}::bytea`)
    .returningAll()
    .executeTakeFirst()
  if (!row) {
    throw new DomainError('conflict', 'The rollout changed meanwhile', {
      rolloutId: before.id,
      expected: before.state,
    })
  }
  return row
}

/** With the first one, the groups of the rollout's cohorts are frozen: whoever joins one later is not in the cohort. */
export async function openPhase(tx: Tx, rolloutId: string, no: number, now: Date): Promise<void> {
  if (no === 1) {
    await sql`
      with frozen as (
        insert into rollout_cohort_member (rollout_id, phase_no, device_id)
        select phase.rollout_id, phase.no, member.device_id
        from rollout_phase phase join device_group_member member on member.group_id = phase.cohort_id
        where phase.rollout_id = ${rolloutId} and phase.kind = 'cohort'
        on conflict do nothing)
      update rollout_phase set opened_at = ${now}
      where rollout_id = ${rolloutId} and no = 1 and opened_at is null`.execute(tx)
    return
  }
  await tx
    .updateTable('rollout_phase')
    .set({ opened_at: now })
    .where('rollout_id', '=', rolloutId)
    .where('no', '=', no)
    .where('opened_at', 'is', null)
    .execute()
}

/** Writes down since when a phase's gate is met and held, if that is still as the caller saw it; says whether it was. */
export async function noteGate(
  tx: Tx,
  rolloutId: string,
  { no, before, metAt, heldAt }: GateNote,
): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('rollout_phase')
    .set({ met_at: metAt, held_at: heldAt })
    .where('rollout_id', '=', rolloutId)
    .where('no', '=', no)
    .where(sql<boolean>`met_at is not distinct from ${before.metAt}::timestamptz`)
    .where(sql<boolean>`held_at is not distinct from ${before.heldAt}::timestamptz`)
    .executeTakeFirst()
  return numUpdatedRows > 0n
}

interface GateNote {
  no: number
  before: { metAt: Date | null; heldAt: Date | null }
  metAt: Date | null
  heldAt: Date | null
}

/** In the order of their ids, so that a worker with more than `limit` of them can go on after the last one. */
export async function runningRollouts(db: Db, after: string, limit: number): Promise<Rollout[]> {
  return await db
    .selectFrom('rollout')
    .selectAll()
    .where('state', '=', 'running')
    .where('id', '>', after)
    .orderBy('id')
    .limit(limit)
    .execute()
}

/** Approved ones whose time to start has come, the longest overdue first. */
export async function dueToStart(db: Db, now: Date, limit: number): Promise<Rollout[]> {
  return await db
    .selectFrom('rollout')
    .selectAll()
    .where('state', '=', 'approved')
    .where('start_at', '<=', now)
    .orderBy('start_at')
    .orderBy('id')
    .limit(limit)
    .execute()
}

/** Those that are not over and one of whose releases was withdrawn, also if they were never started. */
export async function ofWithdrawnReleases(db: Db, limit: number): Promise<Rollout[]> {
  return await db
    .selectFrom('rollout')
    .innerJoin('release', 'release.id', 'rollout.release_id')
    .selectAll('rollout')
    .where((eb) =>
      eb.or([
        eb('release.state', '=', 'withdrawn'),
        eb.exists(
          eb
            .selectFrom('rollout_companion')
            .innerJoin('release as along', 'along.id', 'rollout_companion.release_id')
            .select('along.id')
            .whereRef('rollout_companion.rollout_id', '=', 'rollout.id')
            .where('along.state', '=', 'withdrawn'),
        ),
      ]),
    )
    .where('rollout.state', 'in', ['draft', 'approved', 'running', 'paused'])
    .orderBy('rollout.id')
    .limit(limit)
    .execute()
}

export async function runningAmong(db: Db, ids: readonly string[]): Promise<Rollout[]> {
  return await db
    .selectFrom('rollout')
    .selectAll()
    .where('id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .where('state', '=', 'running')
    .execute()
}

export async function isPublished(db: Db, releaseId: string): Promise<boolean | undefined> {
  const row = await db
    .selectFrom('release')
    .select('state')
    .where('id', '=', releaseId)
    .executeTakeFirst()
  return row && row.state === 'published'
}

export async function groupExists(db: Db, groupId: string): Promise<boolean> {
  const row = await db
    .selectFrom('device_group')
    .select('id')
    .where('id', '=', groupId)
    .executeTakeFirst()
  return row !== undefined
}

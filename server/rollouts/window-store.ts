import { type Insertable, type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { groupKnown, withinReach } from '../db/reach.ts'
import type { BlackoutCalendarTable, MaintenanceWindowTable, RolloutTable } from '../db/schema.ts'
import { calendars, type WindowFacts, windowFacts } from '../db/window-facts.ts'
import type { Reach } from '../protocol/reach.ts'

/** What says when this device may begin with what this rollout offers; undefined when one of them does not exist. */
export async function windowFactsOf(
  db: Db,
  deviceId: string,
  rolloutId: string,
): Promise<{ seed: Buffer; facts: WindowFacts } | undefined> {
  return await db
    .selectFrom('rollout')
    .innerJoin('device', (join) => join.on(sql<boolean>`device.id = ${deviceId}::uuid`))
    .select(['rollout.seed', windowFacts().as('facts')])
    .where('rollout.id', '=', rolloutId)
    .executeTakeFirst()
}

export type MaintenanceWindow = Selectable<MaintenanceWindowTable>
export type BlackoutCalendar = Selectable<BlackoutCalendarTable>

/** Of one device or one group. */
export type WindowOwner = { deviceId: string } | { groupId: string }

const columnOf = (owner: WindowOwner) => ('deviceId' in owner ? 'device_id' : 'group_id')
const idOf = (owner: WindowOwner) => ('deviceId' in owner ? owner.deviceId : owner.groupId)

export async function ownerExists(db: Db, owner: WindowOwner): Promise<boolean> {
  const table = 'deviceId' in owner ? 'device' : 'device_group'
  const row = await db
    .selectFrom(table)
    .select('id')
    .where('id', '=', idOf(owner))
    .executeTakeFirst()
  return row !== undefined
}

/** Newest first; `before` is the id of the last one seen. */
export async function listWindows(
  db: Db,
  filter: {
    reach: Reach
    deviceId?: string | undefined
    groupId?: string | undefined
    before?: string | undefined
  },
  limit: number,
): Promise<MaintenanceWindow[]> {
  const { reach, deviceId, groupId, before } = filter
  let query = db.selectFrom('maintenance_window').selectAll().orderBy('id', 'desc').limit(limit)
  if (reach !== 'fleet') {
    const ofDevice = withinReach('maintenance_window.device_id', reach)
    const ofGroup = groupKnown('maintenance_window.group_id', reach)
    query = query.where(sql<boolean>`(${ofDevice} or ${ofGroup})`)
  }
  if (deviceId !== undefined) query = query.where('device_id', '=', deviceId)
  if (groupId !== undefined) query = query.where('group_id', '=', groupId)
  if (before !== undefined) query = query.where('id', '<', before)
  return await query.execute()
}

/** Sets the one window of its owner; undefined when it is like that already. */
export async function putWindow(
  tx: Tx,
  owner: WindowOwner,
  row: { id: string; rule: string; created_by: string; now: Date },
): Promise<MaintenanceWindow | undefined> {
  const { now, ...rest } = row
  return await tx
    .insertInto('maintenance_window')
    .values({
      ...rest,
      device_id: 'deviceId' in owner ? owner.deviceId : null,
      group_id: 'groupId' in owner ? owner.groupId : null,
      created_at: now,
      changed_at: now,
    })
    .onConflict((oc) =>
      oc
        .column(columnOf(owner))
        .doUpdateSet({ rule: row.rule, created_by: row.created_by, changed_at: now })
        .where(sql<boolean>`maintenance_window.rule is distinct from excluded.rule`),
    )
    .returningAll()
    .executeTakeFirst()
}

export async function windowOfOwner(
  db: Db,
  owner: WindowOwner,
): Promise<MaintenanceWindow | undefined> {
  return await db
    .selectFrom('maintenance_window')
    .selectAll()
    .where(columnOf(owner), '=', idOf(owner))
    .executeTakeFirst()
}

export async function dropWindow(tx: Tx, owner: WindowOwner): Promise<boolean> {
  const row = await tx
    .deleteFrom('maintenance_window')
    .where(columnOf(owner), '=', idOf(owner))
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Newest first; `before` is the id of the last one seen. */
export async function listCalendars(
  db: Db,
  before: string | undefined,
  limit: number,
): Promise<BlackoutCalendar[]> {
  let query = db.selectFrom('blackout_calendar').selectAll().orderBy('id', 'desc').limit(limit)
  if (before !== undefined) query = query.where('id', '<', before)
  return await query.execute()
}

export async function findCalendar(db: Db, id: string): Promise<BlackoutCalendar | undefined> {
  return await db
    .selectFrom('blackout_calendar')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirst()
}

/** How many there are, and whether another one than `exceptId` has the name. */
export async function standingOfCalendars(
  db: Db,
  name: string,
  exceptId: string,
): Promise<{ others: number; taken: boolean }> {
  const row = await db
    .selectFrom('blackout_calendar')
    .select((eb) => [
      eb.fn.countAll<number>().as('others'),
      sql<boolean>`coalesce(bool_or(name = ${name}), false)`.as('taken'),
    ])
    .where('id', '<>', exceptId)
    .executeTakeFirstOrThrow()
  return { others: Number(row.others), taken: row.taken }
}

/** False when the id or the name is taken. */
export async function insertCalendar(
  tx: Tx,
  row: Insertable<BlackoutCalendarTable> & { dates: string },
): Promise<boolean> {
  const inserted = await tx
    .insertInto('blackout_calendar')
    .values(row)
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

/** Undefined when it is like that already, or is not there. */
export async function updateCalendar(
  tx: Tx,
  id: string,
  set: { name: string; zone: string; dates: string; now: Date },
): Promise<BlackoutCalendar | undefined> {
  const { now, ...columns } = set
  return await tx
    .updateTable('blackout_calendar')
    .set({ ...columns, changed_at: now })
    .where('id', '=', id)
    .where(
      sql<boolean>`(name, zone, dates) is distinct from (${set.name}, ${set.zone}, ${set.dates}::jsonb)`,
    )
    .returningAll()
    .executeTakeFirst()
}

export async function dropCalendar(tx: Tx, id: string): Promise<BlackoutCalendar | undefined> {
  return await tx
    .deleteFrom('blackout_calendar')
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst()
}

interface UnansweredOffer {
  device_id: string
  seed: Buffer
  facts: WindowFacts
  /** Is it in what was last signed for the device? */
  is_told: boolean
  /** Was the device last told of nothing at all? */
  is_told_nothing: boolean
}

/** Of these devices, what they were given and have not answered, where a window or a calendar has a say in it. */
export async function unansweredOffers(
  db: Db,
  deviceIds: readonly string[],
): Promise<UnansweredOffer[]> {
  const { rows } = await sql<UnansweredOffer>`
    select * from (
      select deployment.device_id, rollout.seed, ${windowFacts()} as facts,
        coalesce(artifact.sha256 = any(signed.artifact_sha256s), false) as is_told,
        coalesce(cardinality(signed.artifact_sha256s), 0) = 0 as is_told_nothing
      from deployment
      join device on device.id = deployment.device_id and device.state = 'active'
      join rollout on rollout.id = deployment.rollout_id
      join release on release.id = deployment.release_id and release.state = 'published'
      join artifact on artifact.id = release.artifact_id
      left join director_state signed on signed.device_id = deployment.device_id
      where deployment.device_id = any(${[...deviceIds]}::uuid[])
        and deployment.state in ('queued', 'offered')) offer
    where jsonb_strip_nulls(facts) - 'neededMs' - 'ignore' <> '{}'`.execute(db)
  return rows
}

export type WindowedRollout = Selectable<RolloutTable> & { calendars: unknown[] | null }

/** Running ones with a window of their own, in the order of their ids. */
export async function windowedRollouts(
  db: Db,
  after: string,
  limit: number,
): Promise<WindowedRollout[]> {
  return await db
    .selectFrom('rollout')
    .selectAll()
    .select(calendars().as('calendars'))
    .where('state', '=', 'running')
    .where('install_window', 'is not', null)
    .where('id', '>', after)
    .orderBy('id')
    .limit(limit)
    .execute()
}

/** Running rollouts, if there is any window for which it matters how long their releases take. */
export async function rolloutsToMeasure(
  db: Db,
  after: string,
  limit: number,
): Promise<{ id: string; release_id: string }[]> {
  return await db
    .selectFrom('rollout')
    .select('id')
    .select((eb) => eb.ref('release_id').$notNull().as('release_id'))
    .where('state', '=', 'running')
    .where('release_id', 'is not', null)
    .where('id', '>', after)
    .where(
      sql<boolean>`(install_window is not null or exists (select from maintenance_window)
        or exists (select from blackout_calendar))`,
    )
    .orderBy('id')
    .limit(limit)
    .execute()
}

/** A sample is enough: this is asked again and again. */
const mostMeasured = 500
const fewestMeasured = 20

/**
 * How long a release took 95 of 100 devices from the beginning of the download to the proof, in milliseconds; undefined while too few
 * have it. Those that waited in between, for a window or their owner, say nothing about that.
 */
export async function measuredMs(db: Db, releaseId: string): Promise<number | undefined> {
  const { rows } = await sql<{ ms: number; n: number }>`
    select (percentile_disc(0.95) within group (order by took.ms))::bigint as ms, count(*)::int as n
    from (
      select extract(epoch from done.at - begun.at) * 1000 as ms
      from (
        select deployment.id from deployment join rollout on rollout.id = deployment.rollout_id
        where rollout.release_id = ${releaseId} and deployment.release_id = rollout.release_id
          and deployment.state = 'succeeded' limit ${mostMeasured}) one
      cross join lateral (
        select min(at) as at from deployment_event
        where deployment_id = one.id and to_state = 'downloading') begun
      cross join lateral (
        select max(at) as at from deployment_event
        where deployment_id = one.id and to_state = 'succeeded') done
      where begun.at is not null and not exists (
        select from deployment_event
        where deployment_id = one.id and to_state = 'waiting_window')) took`.execute(db)
  const [found] = rows
  return found && found.n >= fewestMeasured ? found.ms : undefined
}

/** Keeps a figure that differs by more than a tenth from the one that is kept. */
export async function keepMeasured(db: Db, rolloutId: string, ms: number): Promise<void> {
  await db
    .updateTable('rollout')
    .set({ needed_ms: ms })
    .where('id', '=', rolloutId)
    .where(sql<boolean>`(needed_ms is null or abs(needed_ms - ${ms}::bigint) * 10 > needed_ms)`)
    .execute()
}

export async function classOfRelease(db: Db, releaseId: string): Promise<string | undefined> {
  const row = await db
    .selectFrom('release')
    .select('class')
    .where('id', '=', releaseId)
    .executeTakeFirst()
  return row?.class
}

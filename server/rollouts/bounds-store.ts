import { sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { DeploymentState } from '../protocol/deployment.ts'

/** A deployment in one of these holds a slot (rollouts.md §3); so does one that is `offered`, for its first hour. */
export const slotStates = [
  'queued',
  'accepted',
  'downloading',
  'verified',
  'installing',
  'installed',
  'rebooting',
  'testing',
] as const satisfies readonly DeploymentState[]

/** Afterwards it is the owner's turn. Without the hour a fleet that accepts by itself would begin without a slot. */
export const offerHoldsMs = 3_600_000

/** Nothing that was started takes longer to come to an end of some kind. */
const longestMs = 40 * 86_400_000

/** "bounds" */
const gate = 0x62_6f_75_6e

/**
 * Holds these rollouts until the transaction ends: they cannot be paused, cancelled or advanced. Returns those that are running, with
 * the phase that is open. `alone`: nobody else admits to them either, which is what counting needs; `all`: nor to any
 * other rollout. Always the gate over all first and then the rollouts in one order, so that nobody waits in a circle.
 */
export async function holdRunning(
  tx: Tx,
  rolloutIds: readonly string[],
  { alone, all }: { alone: boolean; all: boolean },
): Promise<Map<string, { phase_no: number; is_unbounded: boolean }>> {
  const { rows } = await sql<{ id: string; phase_no: number; is_unbounded: boolean }>`
    ${all ? sql`with gate as materialized (select pg_advisory_xact_lock(${sql.lit(gate)}))` : sql``}
    select rollout.id, rollout.phase_no, max_in_flight is null and bytes_per_minute is null and not exists (
        select from rollout_phase phase where phase.rollout_id = rollout.id and phase.no <= rollout.phase_no
          and (phase.kind = 'count' or phase.rate is not null)) as is_unbounded
    from rollout ${all ? sql`, gate` : sql``}
    where rollout.id = any(${[...rolloutIds]}::uuid[]) and rollout.state = 'running'
    order by rollout.id ${alone ? sql`for no key update of rollout` : sql`for share of rollout`}`.execute(
    tx,
  )
  return new Map(rows.map((row) => [row.id, row]))
}

/** A running rollout, and what its bounds count. */
export interface Standing {
  id: string
  phase_no: number
  priority: number
  pass_queue: boolean
  is_security: boolean
  created_at: Date
  max_in_flight: number | null
  bytes_per_minute: number | null
  /** Bytes of the images of all its releases; 0 for certificates. */
  size: number
  /** Microseconds since 1970. */
  rate_us: number | null
  bytes_us: number | null
  /** The open ones, in order. */
  phases: {
    no: number
    kind: 'percent' | 'count' | 'cohort'
    count: number | null
    admitted: number
    rate: unknown
  }[]
  /** 0 where nothing bounds it. */
  in_flight: number
  /** In the phase that was opened last. */
  succeeded: number
  /** Over all rollouts; 0 unless asked for. */
  all_in_flight: number
}

const holding = sql.join(slotStates.map((state) => sql.lit(state)))

/** Those of these rollouts that are running, in one statement; by kept counts and an index of the young offers, so no deployment is read. */
export async function standingsOf(
  db: Db,
  rolloutIds: readonly string[],
  { now, maxInFlight }: { now: Date; maxInFlight: number | undefined },
): Promise<Map<string, Standing>> {
  const since = new Date(now.getTime() - offerHoldsMs)
  const { rows } = await sql<Standing>`
    select rollout.id, rollout.phase_no, rollout.priority, rollout.created_at,
      rollout.pass_queue and coalesce(release.class = 'security', false) as pass_queue,
      rollout.max_in_flight, rollout.bytes_per_minute, coalesce(release.class = 'security', false) as is_security,
      (extract(epoch from rollout.rate_at) * 1000000)::bigint as rate_us,
      (extract(epoch from rollout.bytes_at) * 1000000)::bigint as bytes_us,
      (select jsonb_agg(jsonb_build_object('no', phase.no, 'kind', phase.kind, 'count', phase.count,
          'admitted', phase.admitted, 'rate', phase.rate) order by phase.no)
        from rollout_phase phase where phase.rollout_id = rollout.id and phase.no <= rollout.phase_no) as phases,
      case when rollout.bytes_per_minute is null then 0 else (
        select coalesce(sum(artifact.size), 0)::bigint from release given join artifact on artifact.id = given.artifact_id
        where given.id = rollout.release_id or given.id in (
          select companion.release_id from rollout_companion companion where companion.rollout_id = rollout.id)) end as size,
      case when rollout.max_in_flight is null then 0 else (
        select coalesce(sum(held.n), 0)::int from deployment_count held
        where held.rollout_id = rollout.id and held.state in (${holding})) + (
        select count(*)::int from (select from deployment young where young.rollout_id = rollout.id
          and young.state = 'offered' and young.first_offered_at > ${since} limit rollout.max_in_flight) offered)
        end as in_flight,
      (select coalesce(sum(done.n), 0)::int from deployment_count done
        where done.rollout_id = rollout.id and done.phase_no = rollout.phase_no and done.state = 'succeeded') as succeeded,
      ${maxInFlight === undefined ? sql`0` : allInFlight(now, since, maxInFlight)} as all_in_flight
    from rollout left join release on release.id = rollout.release_id
    where rollout.id = any(${[...rolloutIds]}::uuid[]) and rollout.state = 'running'`.execute(db)
  return new Map(rows.map((row) => [row.id, row]))
}

/** What ended longer ago than anything takes holds no slot, so its counts are not read. */
function allInFlight(now: Date, since: Date, atMost: number) {
  const old = new Date(now.getTime() - longestMs)
  return sql`(select coalesce(sum(held.n), 0)::int from deployment_count held
      join rollout recent on recent.id = held.rollout_id
      where held.state in (${holding}) and (recent.ended_at is null or recent.ended_at > ${old}))
    + (select count(*)::int from (select from deployment young
      where young.state = 'offered' and young.first_offered_at > ${since} limit ${sql.lit(atMost)}) offered)`
}

export interface Booking {
  rolloutId: string
  /** Null: not changed. */
  rateUs: number | null
  bytesUs: number | null
  /** New admissions by phase. */
  phases: ReadonlyMap<number, number>
}

/** Writes what admissions took of the bounds. Only while the rollouts are held alone. */
export async function bookAdmissions(tx: Tx, bookings: readonly Booking[]): Promise<void> {
  const phases = bookings.flatMap(({ rolloutId, phases: admitted }) =>
    [...admitted].map(([no, n]) => ({ rollout_id: rolloutId, no, n })),
  )
  const rates = bookings.map(({ rolloutId, rateUs, bytesUs }) => ({
    id: rolloutId,
    rate_us: rateUs,
    bytes_us: bytesUs,
  }))
  await sql`
    with paced as (
      update rollout set
        rate_at = coalesce(timestamptz 'epoch' + taken.rate_us * interval '1 microsecond', rate_at),
        bytes_at = coalesce(timestamptz 'epoch' + taken.bytes_us * interval '1 microsecond', bytes_at)
      from jsonb_to_recordset(${JSON.stringify(rates)}::jsonb) taken(id uuid, rate_us bigint, bytes_us bigint)
      where rollout.id = taken.id)
    update rollout_phase set admitted = admitted + more.n
    from jsonb_to_recordset(${JSON.stringify(phases)}::jsonb) more(rollout_id uuid, no int, n int)
    where rollout_phase.rollout_id = more.rollout_id and rollout_phase.no = more.no`.execute(tx)
}

/** Is the release a security release; and those of the groups that there are. */
export async function factsFor(
  db: Db,
  { releaseId, groupIds }: { releaseId: string | null; groupIds: readonly string[] },
): Promise<{ is_security: boolean; groups: string[] }> {
  const { rows } = await sql<{ is_security: boolean; groups: string[] }>`
    select coalesce((select class = 'security' from release where id = ${releaseId}::uuid), false) as is_security,
      coalesce((select jsonb_agg(id) from device_group where id = any(${[...groupIds]}::uuid[])), '[]') as groups`.execute(
    db,
  )
  return rows[0] ?? { is_security: false, groups: [] }
}

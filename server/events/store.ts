import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { withinReach } from '../db/reach.ts'
import type { SecurityEventTable } from '../db/schema.ts'
import type { Reach } from '../protocol/reach.ts'

export type EventRow = Selectable<SecurityEventTable>

/** Newest first. `before` is the id of the last one seen. What is about no device is for those who may see the whole fleet. */
export async function listEvents(
  db: Db,
  filter: {
    reach: Reach
    deviceId?: string | undefined
    kind?: string | undefined
    severity?: EventRow['severity'] | undefined
    source?: EventRow['source'] | undefined
    before?: string | undefined
    limit: number
  },
): Promise<EventRow[]> {
  let query = db
    .selectFrom('security_event')
    .selectAll()
    .where(withinReach('security_event.device_id', filter.reach))
  if (filter.deviceId !== undefined) query = query.where('device_id', '=', filter.deviceId)
  if (filter.kind !== undefined) query = query.where('kind', '=', filter.kind)
  if (filter.severity !== undefined) query = query.where('severity', '=', filter.severity)
  if (filter.source !== undefined) query = query.where('source', '=', filter.source)
  if (filter.before !== undefined) query = query.where('id', '<', filter.before)
  return await query.orderBy('id', 'desc').limit(filter.limit).execute()
}

export interface ReportedEvent {
  id: string
  deviceId: string
  kind: string
  severity: EventRow['severity']
  /** JSON text. */
  facts: string
}

export interface StoredEvent extends Pick<EventRow, 'id' | 'source' | 'kind' | 'severity'> {
  deviceId: string
  facts: Record<string, unknown>
}

/**
 * Stores what devices report, in one statement. What is stored already (the same device, kind and facts) is left out, for a
 * message may come twice. Of each device at most `perDevice` rows are kept that are younger than `since` (an id of
 * that moment); the first one too many is stored as `device-events-dropped`, the others are not. Returns what was stored.
 */
export async function insertReported(
  tx: Tx,
  events: readonly ReportedEvent[],
  bounds: { now: Date; since: string; perDevice: number },
): Promise<StoredEvent[]> {
  const { now, since, perDevice } = bounds
  const { rows } = await sql<StoredEvent>`
    with incoming as (
      select distinct on (device_id, kind, facts) *, md5(kind || ' ' || facts::jsonb::text)::uuid as hash
      from unnest(
        ${events.map(({ id }) => id)}::uuid[], ${events.map(({ deviceId }) => deviceId)}::uuid[],
        ${events.map(({ kind }) => kind)}::text[], ${events.map(({ severity }) => severity)}::text[],
        ${events.map(({ facts }) => facts)}::text[]
      ) with ordinality as t (id, device_id, kind, severity, facts, n)
      order by device_id, kind, facts, n
    ), fresh as (
      select i.*, row_number() over (partition by i.device_id order by i.n) + (
        select count(*) from (
          select 1 from security_event e
          where e.device_id = i.device_id and e.id > ${since}::uuid
            and (e.source = 'device' or e.kind = 'device-events-dropped')
          limit ${perDevice + 1}
        ) as kept
      ) as nth
      from incoming i
      where not exists (
        select 1 from security_event e
        where e.device_id = i.device_id and e.reported_hash = i.hash
      )
    )
    insert into security_event (id, at, source, kind, severity, device_id, facts, reported_hash)
    select id, ${now}::timestamptz,
      case when nth > ${perDevice} then 'server' else 'device' end,
      case when nth > ${perDevice} then 'device-events-dropped' else kind end,
      case when nth > ${perDevice} then 'warning' else severity end,
      device_id,
      case when nth > ${perDevice} then jsonb_build_object('keptPerHour', ${perDevice}::int) else facts::jsonb end,
      case when nth > ${perDevice} then null else hash end
    from fresh where nth <= ${perDevice + 1}
    -- The same message on two connections at once: neither transaction sees what the other has not committed.
    on conflict (device_id, reported_hash) where reported_hash is not null do nothing
    returning id, source, kind, severity, device_id as "deviceId", facts`.execute(tx)
  return rows
}

/** Of these devices those about which at least `many` events are younger than `since`, an id of that moment. */
export async function devicesWithMany(
  db: Db,
  deviceIds: readonly string[],
  { since, many }: { since: string; many: number },
): Promise<string[]> {
  if (deviceIds.length === 0) return []
  const { rows } = await sql<{ id: string }>`
    select id from unnest(${[...deviceIds]}::uuid[]) as device (id)
    where (select count(*) from (
      select 1 from security_event e
      where e.device_id = device.id and e.id > ${since}::uuid limit ${many}
    ) as found) >= ${many}`.execute(db)
  return rows.map(({ id }) => id)
}

/** Of these devices those whose owner switched logging and monitoring off (docs/owners-choice.md). */
export async function optedOutOf(db: Db, deviceIds: readonly string[]): Promise<Set<string>> {
  if (deviceIds.length === 0) return new Set()
  const { rows } = await sql<{ id: string }>`select id from device
    where id = any(${[...deviceIds]}::uuid[]) and monitoring_off`.execute(db)
  return new Set(rows.map(({ id }) => id))
}

/** Is there such an event? Whoever asks at the same time in another process waits for the end of this transaction. */
export async function isKept(
  tx: Tx,
  { kind, facts }: { kind: string; facts: Record<string, unknown> },
): Promise<boolean> {
  await sql`select pg_advisory_xact_lock(hashtext(${`fleetseal event ${kind}`}))`.execute(tx)
  const { rows } = await sql`select from security_event
    where kind = ${kind} and facts = ${JSON.stringify(facts)}::jsonb limit 1`.execute(tx)
  return rows.length > 0
}

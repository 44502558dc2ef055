import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { OutboxEventTable, WebhookDeliveryTable } from '../db/schema.ts'
import type { DeliveryState } from './state.ts'

export interface DeliveryRow extends Selectable<WebhookDeliveryTable> {
  type: string
  subject: string
  device_id: string | null
  at: Date
}

/** What waits for one endpoint at most. */
export const mostWaiting = 100_000

export interface Missed {
  endpoint_id: string
  missed: number
  is_first: boolean
}

/**
 * Makes a delivery of each of these events for each active endpoint that wants it. What an endpoint has no room for is counted at the endpoint, with
 * its time.
 *
 * @returns endpoints that missed something
 */
export async function insertDeliveries(
  tx: Tx,
  eventIds: readonly string[],
  { now, room }: { now: Date; room: number },
): Promise<Missed[]> {
  const { rows } = await sql<Missed>`
    with wanted as (
      select w.id as endpoint_id, e.id as event_id, e.seq, e.ordered_by, e.at, row_number() over (partition by w.id order by e.seq) as nth
      from outbox_event e join webhook_endpoint w on w.state = 'active'
        and case when e.endpoint_id is null then e.type = any(w.types) else w.id = e.endpoint_id end
        and (cardinality(w.group_ids) = 0 or e.endpoint_id is not null or (select count(*) from device_group_member m
          where m.device_id = e.device_id and m.group_id = any(w.group_ids)) = cardinality(w.group_ids))
      where e.id = any(${[...eventIds]}::uuid[])
    ), full_at as (
      select w.id, ${room}::bigint - (select count(*) from (select from webhook_delivery d
        where d.endpoint_id = w.id and d.state = 'pending' limit ${room}) as waiting) as free
      from webhook_endpoint w where w.id in (select endpoint_id from wanted)
    ), made as (
      insert into webhook_delivery (id, endpoint_id, event_id, seq, ordered_by, state, due_at, created_at)
      select gen_random_uuid(), endpoint_id, event_id, seq, ordered_by, 'pending', ${now}::timestamptz, ${now}::timestamptz
      from wanted join full_at on full_at.id = wanted.endpoint_id and wanted.nth <= full_at.free
      order by seq
    ), over as (
      select endpoint_id, count(*) as n, min(at) as first_at, max(at) as last_at
      from wanted join full_at on full_at.id = wanted.endpoint_id and wanted.nth > full_at.free group by 1
    )
    update webhook_endpoint w set missed = w.missed + over.n,
      missed_from = coalesce(w.missed_from, over.first_at), missed_until = over.last_at
    from over where w.id = over.endpoint_id
    returning w.id as endpoint_id, over.n as missed, w.missed = over.n as is_first`.execute(tx)
  return rows
}

/** Endpoints that missed something and have room again (half of it), whose receivers are to be told. Counts anew from here. */
export async function takeGaps(
  tx: Tx,
  room: number,
): Promise<{ id: string; missed: number; from: Date; until: Date }[]> {
  const { rows } = await sql<{ id: string; missed: number; from: Date; until: Date }>`
    with gap as (
      select w.id, w.missed, w.missed_from, w.missed_until from webhook_endpoint w
      where w.missed > 0 and w.state = 'active' and (select count(*) from (select from webhook_delivery d
        where d.endpoint_id = w.id and d.state = 'pending' limit ${Math.ceil(room / 2)}) as waiting) < ${Math.ceil(room / 2)}
      for update
    )
    update webhook_endpoint w set missed = 0, missed_from = null, missed_until = null
    from gap where gap.id = w.id
    returning gap.id, gap.missed, gap.missed_from as "from", gap.missed_until as "until"`.execute(
    tx,
  )
  return rows
}

/** Newest event first. `before` is the `seq` of the last one seen. */
export async function listDeliveries(
  db: Db,
  filter: {
    endpointId: string
    state?: DeliveryState | undefined
    before?: string | undefined
    limit: number
  },
): Promise<DeliveryRow[]> {
  let query = db
    .selectFrom('webhook_delivery as d')
    .innerJoin('outbox_event as e', 'e.id', 'd.event_id')
    .selectAll('d')
    .select(['e.type', 'e.subject', 'e.device_id', 'e.at'])
    .where('d.endpoint_id', '=', filter.endpointId)
  if (filter.state !== undefined) query = query.where('d.state', '=', filter.state)
  if (filter.before !== undefined) query = query.where('d.seq', '<', Number(filter.before))
  return await query.orderBy('d.seq', 'desc').limit(filter.limit).execute()
}

export interface Due {
  id: string
  attempts: number
  created_at: Date
  event: Pick<Selectable<OutboxEventTable>, 'id' | 'at' | 'type' | 'device_id' | 'subject' | 'data'>
}

/** Active endpoints that have something to be sent now. */
export async function dueEndpoints(db: Db, now: Date): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`select id from webhook_endpoint w
    where state = 'active' and (retry_at is null or retry_at <= ${now})
      and exists (select from webhook_delivery d where d.endpoint_id = w.id and d.state = 'pending' and d.due_at <= ${now})
    order by id`.execute(db)
  return rows.map(({ id }) => id)
}

/**
 * Takes what is due for an endpoint: of each device (or subject) only the first that waits, so that what comes after it stays behind it. Each counts as an
 * attempt and is due again at `leaseUntil`, should this process end before it has told what came of it.
 */
export async function claimDue(
  tx: Tx,
  {
    endpointId,
    now,
    leaseUntil,
    limit,
  }: { endpointId: string; now: Date; leaseUntil: Date; limit: number },
): Promise<Due[]> {
  const { rows } = await sql<Due>`
    with head as (
      select d.id from webhook_delivery d
      where d.endpoint_id = ${endpointId}::uuid and d.state = 'pending' and d.due_at <= ${now}::timestamptz
        and not exists (select from webhook_delivery b where b.endpoint_id = d.endpoint_id and b.ordered_by = d.ordered_by
          and b.state = 'pending' and b.seq < d.seq)
      order by d.due_at, d.seq limit ${limit} for update skip locked
    ), claimed as (
      update webhook_delivery d set attempts = d.attempts + 1, due_at = ${leaseUntil}::timestamptz,
        last_status = null, last_error = null
      from head where head.id = d.id and d.state = 'pending' returning d.id, d.attempts, d.created_at, d.event_id, d.seq
    )
    select c.id, c.attempts, c.created_at, jsonb_build_object('id', e.id, 'type', e.type, 'device_id', e.device_id,
      'subject', e.subject, 'data', e.data, 'at', to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) as event
    from claimed c join outbox_event e on e.id = c.event_id order by c.seq`.execute(tx)
  return rows.map((row) => ({ ...row, event: { ...row.event, at: new Date(row.event.at) } }))
}

export interface Outcome {
  id: string
  /** Of the claim: an outcome that comes after its lease has ended is not that of the newest attempt. */
  attempts: number
  state: DeliveryState
  dueAt: Date
  status: number | null
  error: string | null
}

export async function saveOutcomes(tx: Tx, outcomes: readonly Outcome[], now: Date): Promise<void> {
  const of = <T>(pick: (outcome: Outcome) => T) => outcomes.map(pick)
  await sql`update webhook_delivery d set state = o.state, due_at = o.due_at, last_status = o.status, last_error = o.error,
      ended_at = case when o.state = 'pending' then null else ${now}::timestamptz end
    from unnest(${of(({ id }) => id)}::uuid[], ${of(({ attempts }) => attempts)}::int[], ${of(({ state }) => state)}::text[],
      ${of(({ dueAt }) => dueAt.toISOString())}::timestamptz[], ${of(({ status }) => status)}::int[],
      ${of(({ error }) => error)}::text[]) as o (id, attempts, state, due_at, status, error)
    where d.id = o.id and d.state = 'pending' and (d.attempts = o.attempts or o.state = 'delivered')`.execute(
    tx,
  )
}

/** What waits because its receiver did not answer is due now that it does. */
export async function releaseWaiting(tx: Tx, endpointId: string, now: Date): Promise<void> {
  await sql`update webhook_delivery set due_at = ${now} where endpoint_id = ${endpointId} and state = 'pending'
    and due_at > ${now} and last_error is not null and (last_status is null or last_status >= 500 or last_status in (408, 429))`.execute(
    tx,
  )
}

/** What has waited since before an instant is a dead letter. Returns how many, at most `limit`. */
export async function buryOld(
  tx: Tx,
  before: Date,
  { now, limit }: { now: Date; limit: number },
): Promise<number> {
  const { rows } =
    await sql`update webhook_delivery set state = 'dead', ended_at = ${now} where id in (
    select id from webhook_delivery where state = 'pending' and created_at < ${before} limit ${limit} for update skip locked
  ) returning id`.execute(tx)
  return rows.length
}

/**
 * Sends again to an endpoint what is kept of these events: those that are delivered or dead wait again, for those that it never had a delivery is made.
 * What waits already stays as it is. Returns how many wait now that did not.
 */
export async function replayEvents(
  tx: Tx,
  endpointId: string,
  what: { eventId: string } | { deadLetters: true } | { from: Date; until: Date },
  { now, room }: { now: Date; room: number },
): Promise<number> {
  const isDead = 'deadLetters' in what
  const which =
    'eventId' in what
      ? sql`e.id = ${what.eventId}::uuid`
      : isDead
        ? sql`true`
        : sql`e.at >= ${what.from} and e.at < ${what.until}`
  const { rows } = await sql`
    with chosen as (
      select e.id, e.seq, e.ordered_by, d.id as delivery_id from outbox_event e
      join webhook_endpoint w on w.id = ${endpointId}::uuid
      left join webhook_delivery d on d.event_id = e.id and d.endpoint_id = w.id
      where ${which} and e.relayed_at is not null
        and (d.state ${isDead ? sql`= 'dead'` : sql`is distinct from 'pending'`})
        and (d.id is not null or (e.endpoint_id is null and e.type = any(w.types) and (cardinality(w.group_ids) = 0 or (select count(*)
          from device_group_member m where m.device_id = e.device_id and m.group_id = any(w.group_ids)) = cardinality(w.group_ids))))
      order by e.seq limit greatest(0, ${room}::bigint - (select count(*) from webhook_delivery p
        where p.endpoint_id = ${endpointId}::uuid and p.state = 'pending'))
    ), again as (
      update webhook_delivery d set state = 'pending', due_at = ${now}, created_at = ${now}, attempts = 0, ended_at = null,
        last_status = null, last_error = null
      from chosen where d.id = chosen.delivery_id returning d.id
    ), made as (
      insert into webhook_delivery (id, endpoint_id, event_id, seq, ordered_by, state, due_at, created_at)
      select gen_random_uuid(), ${endpointId}::uuid, id, seq, ordered_by, 'pending', ${now}, ${now} from chosen
      where delivery_id is null returning id
    )
    select id from again union all select id from made`.execute(tx)
  return rows.length
}

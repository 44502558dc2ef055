import { sql } from 'kysely'

import type { Db } from '../db/client.ts'

/** One number of the fleet, with the one label that its metric has. */
export interface FleetNumber {
  metric: FleetMetric
  label: string
  value: number
}
export type FleetMetric =
  | 'devices'
  | 'rollouts'
  | 'deployments'
  | 'queueRows'
  | 'queueAge'
  | 'expiry'
  | 'certificatesEnding'

/** Rows that are counted of one queue at most: that there are so many is alarm enough. */
const countedAtMost = 10_000

/**
 * What the database knows of the fleet, in one statement: counts by state, how many rows wait in each queue and since when (Unix seconds),
 * and when the first thing of each kind expires (Unix seconds). Labels come from closed lists: states, queues, kinds, roles.
 */
export async function readFleet(db: Db, now: Date): Promise<FleetNumber[]> {
  const at = sql`${now}::timestamptz`
  const { rows } = await sql<{ metric: FleetMetric; label: string; value: number | null }>`
    select 'devices' as metric, state as label, count(*)::float8 as value from device group by state
    union all
    select 'rollouts', state, count(*)::float8 from rollout group by state
    union all
    select 'deployments', c.state, sum(c.n)::float8 from deployment_count c
      join rollout r on r.id = c.rollout_id and r.state in ('running', 'paused') group by c.state
    union all
    select unnest(array['queueRows', 'queueAge']), q.label, unnest(array[q.n, q.since])
      from (${sql.join(queues.map(queueRead), sql` union all `)}) as q (label, n, since)
    union all
    select 'expiry', label, floor(extract(epoch from min(ends)))::float8 from (${expiries(at)}) as e (label, ends)
      where ends is not null group by label
    union all
    select 'certificatesEnding', days::text, (select count(*)::float8 from certificate
        where kind = 'device' and state = 'issued' and not_after > ${at}
          and not_after <= ${at} + make_interval(days => days))
      from unnest(array[1, 7, 30]) as days`.execute(db)
  return rows.flatMap(({ metric, label, value }) =>
    value === null ? [] : { metric, label, value: Number(value) },
  )
}

/** What waits to be done by a worker or a person: the table, which of its rows wait, and since when one does. */
interface Queue {
  name: string
  table: string
  waiting: string
  since: string
}

const queues: readonly Queue[] = [
  { name: 'audit-seal', table: 'audit_event', waiting: 'chain_no is null', since: 'at' },
  {
    name: 'certificate-signing',
    table: 'certificate',
    waiting: "state = 'pending'",
    since: 'created_at',
  },
  {
    name: 'enrollment-approval',
    table: 'enrollment_request',
    waiting: "state = 'pending'",
    since: 'created_at',
  },
  {
    name: 'enrollment-batch',
    table: 'enrollment_batch',
    waiting: "state <> 'done'",
    since: 'created_at',
  },
  {
    name: 'deployment-offer',
    table: 'deployment',
    waiting: "state = 'queued'",
    since: 'changed_at',
  },
  { name: 'outbox', table: 'outbox_event', waiting: 'relayed_at is null', since: 'at' },
  {
    name: 'webhook',
    table: 'webhook_delivery',
    waiting: "state = 'pending'",
    since: 'created_at',
  },
  {
    name: 'webhook-dead',
    table: 'webhook_delivery',
    waiting: "state = 'dead'",
    since: 'created_at',
  },
  { name: 'mail', table: 'alert_mail', waiting: "state = 'pending'", since: 'created_at' },
  { name: 'mail-dead', table: 'alert_mail', waiting: "state = 'dead'", since: 'created_at' },
  {
    name: 'approval',
    table: 'approval_request',
    waiting: "state = 'open'",
    since: 'created_at',
  },
  {
    name: 'delivery-form',
    table: 'delivery_form',
    waiting: "state = 'waiting'",
    since: 'created_at',
  },
]

function queueRead({ name, table, waiting, since }: Queue) {
  return sql`select ${sql.lit(name)}, count(*)::float8, floor(extract(epoch from min(since)))::float8
    from (select ${sql.ref(since)} as since from ${sql.table(table)} where ${sql.raw(waiting)} limit ${sql.lit(countedAtMost)}) as w`
}

/** Everything with an end that lies in the database; of each kind the earliest counts. */
function expiries(at: ReturnType<typeof sql>) {
  return sql`
    select 'crl', next_update from crl
    union all select case when role in ('root', 'targets', 'snapshot', 'timestamp')
        then repository || '-' || role else 'image-models' end, expires_at
      from (select distinct on (repository, role) repository, role, expires_at from metadata_file
        where state = 'published' order by repository, role, version desc) as newest
    union all select 'api-key', expires_at from api_key where revoked_at is null and expires_at > ${at}
    union all select 'operator-certificate', not_after from operator_certificate
      where revoked_at is null and not_after > ${at}
    union all select 'enrollment-profile', valid_until from enrollment_profile where valid_until > ${at}
    union all select 'device-certificate', (select min(not_after) from certificate
      where kind = 'device' and state = 'issued' and not_after > ${at})`
}

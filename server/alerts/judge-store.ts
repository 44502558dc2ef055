import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { AlertTable } from '../db/schema.ts'

type Alert = Selectable<AlertTable>

/** Of one rule, unresolved at the same time; the others are one alert without a device. */
export const mostOpen = 200

/** Of each device the groups among these that it is a member of. */
export async function membershipsOf(
  db: Db,
  deviceIds: readonly string[],
  groupIds: readonly string[],
): Promise<Map<string, Set<string>>> {
  const found = new Map<string, Set<string>>()
  if (deviceIds.length === 0 || groupIds.length === 0) return found
  const { rows } = await sql<{ device_id: string; group_id: string }>`
    select device_id, group_id from device_group_member
    where device_id = any(${[...deviceIds]}::uuid[]) and group_id = any(${[...groupIds]}::uuid[])`.execute(
    db,
  )
  for (const { device_id: deviceId, group_id: groupId } of rows) {
    found.set(deviceId, (found.get(deviceId) ?? new Set()).add(groupId))
  }
  return found
}

/** Devices among these whose owner switched monitoring off. */
export async function unmonitored(db: Db, deviceIds: readonly string[]): Promise<Set<string>> {
  if (deviceIds.length === 0) return new Set()
  const { rows } = await sql<{ id: string }>`select id from device
    where id = any(${[...deviceIds]}::uuid[]) and monitoring_off`.execute(db)
  return new Set(rows.map(({ id }) => id))
}

/** How many events of a kind (of a device) lie between two ids, at most `limit`; those that stand for others count for them. */
export async function countRecent(
  db: Db,
  what: {
    kind: string
    deviceId: string | null
    since: string
    until: string
    limit: number
    groupIds: readonly string[]
  },
): Promise<number> {
  const { kind, deviceId, since, until, limit, groupIds } = what
  const { rows } = await sql<{ n: number }>`
    select coalesce(sum(1 + coalesce(case when jsonb_typeof(facts->'suppressed') = 'number' then (facts->>'suppressed')::numeric end, 0)), 0)::bigint as n
    from (select facts from security_event e
      where kind = ${kind} and id >= ${since}::uuid and id <= ${until}::uuid and (${deviceId}::uuid is null or device_id = ${deviceId}::uuid)
        and (${groupIds.length}::int = 0 or (select count(*) from device_group_member m
          where m.device_id = e.device_id and m.group_id = any(${[...groupIds]}::uuid[])) = ${groupIds.length}::int)
      limit ${limit}) as recent`.execute(db)
  return rows[0]?.n ?? 0
}

/** Rule and key of alerts that are not resolved, among those of these rules. */
export async function unresolvedOf(db: Db, ruleIds: readonly string[]): Promise<Set<string>> {
  const { rows } = await sql<{ name: string }>`select rule_id || ' ' || key as name from alert
    where state <> 'resolved' and rule_id = any(${[...ruleIds]}::uuid[])`.execute(db)
  return new Set(rows.map(({ name }) => name))
}

export interface Rise {
  id: string
  ruleId: string
  key: string
  kind: string
  severity: Alert['severity']
  deviceId: string | null
  count: number
  firstAt: Date
  lastAt: Date
}

/** Makes alerts, or adds to those that are not resolved. Gives all of them as they are now. */
export async function raise(tx: Tx, rises: readonly Rise[]): Promise<Alert[]> {
  const of = <T>(pick: (rise: Rise) => T) => rises.map(pick)
  const { rows } = await sql<Alert>`
    insert into alert as a (id, rule_id, key, kind, severity, device_id, state, count, first_at, last_at)
    select id, rule_id, key, kind, severity, device_id, 'open', n, first_at, last_at
    from unnest(${of(({ id }) => id)}::uuid[], ${of(({ ruleId }) => ruleId)}::uuid[], ${of(({ key }) => key)}::text[],
      ${of(({ kind }) => kind)}::text[], ${of(({ severity }) => severity)}::text[], ${of(({ deviceId }) => deviceId)}::uuid[],
      ${of(({ count }) => count)}::bigint[], ${of(({ firstAt }) => firstAt.toISOString())}::timestamptz[],
      ${of(({ lastAt }) => lastAt.toISOString())}::timestamptz[])
      as one (id, rule_id, key, kind, severity, device_id, n, first_at, last_at)
    on conflict (rule_id, key) where state <> 'resolved' do update set count = a.count + excluded.count,
      last_at = greatest(a.last_at, excluded.last_at),
      severity = case when array_position(array['info', 'warning', 'critical'], excluded.severity)
        > array_position(array['info', 'warning', 'critical'], a.severity) then excluded.severity else a.severity end
    returning *`.execute(tx)
  return rows
}

export async function markTold(tx: Tx, ids: readonly string[], now: Date): Promise<void> {
  if (ids.length === 0) return
  await sql`update alert set told_at = ${now} where id = any(${[...ids]}::uuid[])`.execute(tx)
}

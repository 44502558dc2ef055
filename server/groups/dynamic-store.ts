import { type RawBuilder, type SqlBool, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'

export interface DynamicGroup {
  id: string
  query: string
}

/**
 * Groups with a query. Held against the worker that looks at all devices until the transaction ends: it holds a group alone for a
 * few short statements (`holdAlone`). The query may change meanwhile; then the worker looks again, after this transaction.
 */
export async function holdDynamicGroups(tx: Tx): Promise<DynamicGroup[]> {
  const { rows } = await sql<DynamicGroup>`
    select id, query from device_group where query is not null order by id for key share`.execute(
    tx,
  )
  return rows
}

export async function countDynamicGroups(db: Db, exceptId: string): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from device_group where query is not null and id <> ${exceptId}`.execute(
    db,
  )
  return rows[0]?.n ?? 0
}

/** Which of these devices are in which group with a query: `<group> <device>`. */
export async function dynamicMemberships(
  db: Db,
  deviceIds: readonly string[],
): Promise<Set<string>> {
  const { rows } = await sql<{ pair: string }>`
    select member.group_id || ' ' || member.device_id as pair
    from device_group_member member join device_group held on held.id = member.group_id
    where member.device_id = any(${[...deviceIds]}::uuid[]) and held.query is not null`.execute(db)
  return new Set(rows.map(({ pair }) => pair))
}

export interface Membership {
  groupId: string
  deviceId: string
}

const lists = (memberships: readonly Membership[]) => sql`unnest(
  ${memberships.map(({ groupId }) => groupId)}::uuid[], ${memberships.map(({ deviceId }) => deviceId)}::uuid[])`

export async function insertMemberships(tx: Tx, memberships: readonly Membership[]): Promise<void> {
  if (memberships.length === 0) return
  await sql`insert into device_group_member (group_id, device_id)
    select * from ${lists(memberships)} on conflict do nothing`.execute(tx)
}

/**
 * Takes devices out of groups, but out of none that is cut off: whoever was in it when it was stays cut off, whatever it says
 * or however long it is silent. Returns the devices that left a group.
 */
export async function deleteMemberships(
  tx: Tx,
  memberships: readonly Membership[],
): Promise<string[]> {
  if (memberships.length === 0) return []
  const { rows } = await sql<{ device_id: string }>`
    delete from device_group_member using ${lists(memberships)} as leaving(group_id, device_id)
    where device_group_member.group_id = leaving.group_id and device_group_member.device_id = leaving.device_id
      and not exists (select from incident where incident.group_id = leaving.group_id and incident.closed_at is null)
    returning device_group_member.device_id`.execute(tx)
  return rows.map((row) => row.device_id)
}

/** Claims the group that has waited longest, until `leaseUntil`; undefined when none is due. */
export async function claimDueGroup(
  tx: Tx,
  { now, leaseUntil }: { now: Date; leaseUntil: Date },
): Promise<DynamicGroup | undefined> {
  const { rows } = await sql<DynamicGroup>`
    update device_group set evaluate_at = ${leaseUntil}
    where id = (select id from device_group where query is not null and evaluate_at <= ${now}
      order by evaluate_at limit 1 for no key update skip locked)
    returning id, query`.execute(tx)
  return rows[0]
}

/** Still this query? Then nobody else looks at or changes the group until the transaction ends. */
export async function holdAlone(tx: Tx, { id, query }: DynamicGroup): Promise<boolean> {
  const { rows } = await sql`
    select from device_group where id = ${id} and query = ${query} for update`.execute(tx)
  return rows.length > 0
}

export async function finishEvaluation(
  tx: Tx,
  { id, query }: DynamicGroup,
  { now, again }: { now: Date; again: Date },
): Promise<void> {
  await sql`update device_group set evaluated_at = ${now}, evaluate_at = ${again}
    where id = ${id} and query = ${query}`.execute(tx)
}

type Condition = RawBuilder<SqlBool>

/** Devices that the condition finds and that are no members yet: up to `limit`, only `among` these when given. */
export async function findMissing(
  db: Db,
  groupId: string,
  condition: Condition,
  { among, limit }: { among?: readonly string[]; limit: number },
): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select device.id from device
    where ${condition} and ${amongThese(sql`device.id`, among)}
      and not exists (select from device_group_member member
        where member.group_id = ${groupId} and member.device_id = device.id)
    limit ${limit}`.execute(db)
  return rows.map((row) => row.id)
}

/** Members that the condition does not find any more. None while the group is cut off: see `deleteMemberships`. */
export async function findSurplus(
  db: Db,
  groupId: string,
  condition: Condition,
  { among, limit }: { among?: readonly string[]; limit: number },
): Promise<string[]> {
  const { rows } = await sql<{ device_id: string }>`
    select member.device_id from device_group_member member join device on device.id = member.device_id
    where member.group_id = ${groupId} and (${condition}) is not true
      and ${amongThese(sql`member.device_id`, among)}
      and not exists (select from incident where incident.group_id = ${groupId} and incident.closed_at is null)
    limit ${limit}`.execute(db)
  return rows.map((row) => row.device_id)
}

function amongThese(column: RawBuilder<unknown>, among: readonly string[] | undefined): Condition {
  return among ? sql<SqlBool>`${column} = any(${[...among]}::uuid[])` : sql<SqlBool>`true`
}

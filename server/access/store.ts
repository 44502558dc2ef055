import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { type StoredGrant, storedGrants } from '../db/grants.ts'
import type { AccessGrantTable, AccessRoleTable } from '../db/schema.ts'

export type Role = Selectable<AccessRoleTable>
export type HeldGrant = Selectable<AccessGrantTable>

/** Roles and grants are changed by one at a time, so that two who each leave an administrator do not leave none. Reading goes on. */
export async function lockAccess(tx: Tx): Promise<void> {
  await sql`lock table access_grant in share row exclusive mode`.execute(tx)
}

export async function findRole(db: Db, name: string): Promise<Role | undefined> {
  return await db.selectFrom('access_role').selectAll().where('name', '=', name).executeTakeFirst()
}

/** All, by name: there are few (accessLimits.roles). */
export async function listRoles(db: Db): Promise<Role[]> {
  return await db.selectFrom('access_role').selectAll().orderBy('name').execute()
}

/** Returns its version. */
export async function insertRole(tx: Tx, role: Omit<Role, 'version'>): Promise<number> {
  const { version } = await tx
    .insertInto('access_role')
    .values(role)
    .returning('version')
    .executeTakeFirstOrThrow()
  return version
}

/** Returns the version that it has now. */
export async function updateRole(
  tx: Tx,
  {
    name,
    ...changes
  }: Pick<Role, 'name' | 'description' | 'permissions' | 'group_ids' | 'changed_at'>,
): Promise<number> {
  const { version } = await tx
    .updateTable('access_role')
    .set(changes)
    .where('name', '=', name)
    .returning('version')
    .executeTakeFirstOrThrow()
  return version
}

export async function deleteRole(tx: Tx, name: string): Promise<void> {
  await tx.deleteFrom('access_role').where('name', '=', name).execute()
}

/** How many hold each of these roles. */
export async function holdersOf(db: Db, roles: readonly string[]): Promise<Map<string, number>> {
  const rows = await db
    .selectFrom('access_grant')
    .select('role')
    .select((eb) => eb.fn.count<number>('principal').distinct().as('count'))
    .where('role', '=', sql<string>`any(${[...roles]}::text[])`)
    .groupBy('role')
    .execute()
  return new Map(rows.map(({ role, count }) => [role, Number(count)]))
}

export async function grantsHeld(db: Db, principal: string): Promise<HeldGrant[]> {
  return await db
    .selectFrom('access_grant')
    .selectAll()
    .where('principal', '=', principal)
    .orderBy('no')
    .execute()
}

export async function replaceGrants(
  tx: Tx,
  principal: string,
  rows: readonly HeldGrant[],
): Promise<void> {
  await tx.deleteFrom('access_grant').where('principal', '=', principal).execute()
  if (rows.length > 0)
    await tx
      .insertInto('access_grant')
      .values([...rows])
      .execute()
}

export interface Holder {
  id: string
  principal: string
  name: string
  /** Who counts as one person (http/access.ts). */
  voice: string
  /** Whether it can still sign in or be used. */
  active: boolean
  grants: StoredGrant[]
}

/** All who can be given rights, newest first; `before` is the id of the last one seen. */
export async function listHolders(
  db: Db,
  now: Date,
  page: { only?: string; role?: string | undefined; before?: string | undefined; limit: number },
): Promise<Holder[]> {
  const { only, role, before, limit } = page
  const { rows } = await sql<Holder>`
    select id, principal, name, voice, active, ${storedGrants(sql.ref('holder.principal'))} as grants
    from (${holders(now)}) as holder
    where ${only === undefined ? sql`true` : sql`principal = ${only}`}
      and ${before === undefined ? sql`true` : sql`id < ${before}::uuid`}
      and ${role === undefined ? sql`true` : sql`exists (select from access_grant as one where one.principal = holder.principal and one.role = ${role})`}
    order by id desc limit ${limit}`.execute(db)
  return rows
}

/** Of these, those that can still sign in or be used. */
export async function activeHolders(
  db: Db,
  principals: readonly string[],
  now: Date,
): Promise<Set<string>> {
  const { rows } = await sql<{ principal: string }>`
    select principal from (${holders(now)}) as holder
    where active and principal = any(${[...principals]}::text[])`.execute(db)
  return new Set(rows.map(({ principal }) => principal))
}

/** Is there somebody left who is an administrator of the whole fleet, and can still sign in? Whoever never did may not be able to. */
export async function hasAdministrator(db: Db, now: Date): Promise<boolean> {
  const { rows } = await sql`
    select 1 from access_grant join (${holders(now)}) as holder using (principal)
    where role = 'admin' and group_ids = '{}' and active and principal not like 'workload:%'
      and (principal not like 'user:%' or exists (
        select from person where person.id = holder.id and last_sign_in_at is not null))
    limit 1`.execute(db)
  return rows.length > 0
}

/** Of these groups, those that there are. */
export async function groupsAmong(db: Db, ids: readonly string[]): Promise<Set<string>> {
  const rows = await db
    .selectFrom('device_group')
    .select('id')
    .where('id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .execute()
  return new Set(rows.map(({ id }) => id))
}

function holders(now: Date) {
  return sql`select key.id, 'key:' || key.id as principal, key.name,
      case when key.created_by like 'user:%' then key.created_by else coalesce('user:' || key.owner_id, 'key:' || key.id) end as voice,
      revoked_at is null and (expires_at is null or expires_at > ${now}) and coalesce(owner.state, 'active') = 'active' as active
    from api_key as key left join person as owner on owner.id = key.owner_id
    union all select id, 'user:' || id, name, 'user:' || id, state = 'active' from person
    union all select id, 'workload:' || id, name,
      case when created_by like 'user:%' then created_by else 'workload:' || id end, removed_at is null from workload_identity
    union all select held.id, 'certificate:' || held.id, held.name,
      case when held.created_by like 'user:%' then held.created_by else coalesce('user:' || held.owner_id, 'certificate:' || held.id) end,
      revoked_at is null and not_after > ${now} and coalesce(owner.state, 'active') = 'active'
    from operator_certificate as held left join person as owner on owner.id = held.owner_id`
}

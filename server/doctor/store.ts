import { sql } from 'kysely'

import type { Db } from '../db/client.ts'

export interface DatabaseFacts {
  version: number
  nowMs: number
  bytes: number
  isStandby: boolean
  connections: number
  maxConnections: number
  /** Of the standby that is furthest behind, in seconds; null without one. */
  lagSeconds: number | null
  migrations: number
}

export async function readDatabase(db: Db): Promise<DatabaseFacts> {
  const { rows } = await sql<DatabaseFacts>`
    select current_setting('server_version_num')::int as version,
      (extract(epoch from clock_timestamp()) * 1000)::float8 as "nowMs",
      pg_database_size(current_database())::float8 as bytes,
      pg_is_in_recovery() as "isStandby",
      (select count(*) from pg_stat_activity where backend_type = 'client backend')::int as connections,
      current_setting('max_connections')::int as "maxConnections",
      (select max(extract(epoch from replay_lag))::float8 from pg_stat_replication) as "lagSeconds",
      (select count(*) from schema_migration)::int as migrations`.execute(db)
  const [facts] = rows
  if (!facts) throw new Error('The database says nothing of itself')
  return facts
}

export async function listIssuers(db: Db) {
  return await db
    .selectFrom('authority')
    .select(['name', 'purpose', 'certificate'])
    .where('state', 'in', ['active', 'prepared'])
    .where('key_destroyed_at', 'is', null)
    .orderBy('created_at')
    .limit(200)
    .execute()
}

/** The newest whole list of each authority that can sign. */
export async function listCrlEnds(db: Db): Promise<{ name: string; nextUpdate: Date }[]> {
  const { rows } = await sql<{ name: string; nextUpdate: Date }>`
    select a.name, max(c.next_update) as "nextUpdate" from authority a
    join crl c on c.authority_id = a.id and c.shard = -1 and not c.is_delta
    where a.state <> 'retired' and a.key_destroyed_at is null
    group by a.id, a.name order by a.name limit 200`.execute(db)
  return rows.map(({ name, nextUpdate }) => ({ name, nextUpdate: new Date(nextUpdate) }))
}

export interface MetadataEnd {
  repository: string
  role: string
  expiresAt: Date
  isEvaluation: boolean
}

/** What is published of each role now. */
export async function listMetadataEnds(db: Db): Promise<MetadataEnd[]> {
  const { rows } = await sql<MetadataEnd>`
    select distinct on (repository, role) repository, role, expires_at as "expiresAt",
      role = 'root' and signed like '%"x-evaluation":true%' as "isEvaluation"
    from metadata_file where state = 'published'
    order by repository, role, version desc limit 2000`.execute(db)
  return rows.map((row) => ({ ...row, expiresAt: new Date(row.expiresAt) }))
}

export async function listKeyEnds(db: Db, before: Date, now: Date) {
  return await db
    .selectFrom('api_key')
    .select(['name', 'expires_at'])
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', now)
    .where('expires_at', '<', before)
    .orderBy('expires_at')
    .limit(50)
    .execute()
}

export async function countWebhookTrouble(db: Db): Promise<{ failing: number; dead: number }> {
  const { rows } = await sql<{ failing: number; dead: number }>`
    select (select count(*)::int from webhook_endpoint where failing_since is not null or disabled_because = 'failing') as failing,
      (select count(*)::int from webhook_delivery where state = 'dead') as dead`.execute(db)
  return rows[0] ?? { failing: 0, dead: 0 }
}

import { createHash, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'

import { sql } from 'kysely'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { makeCheckpoint } from '../../server/audit/checkpoints.ts'
import { excessiveRights } from '../../server/audit/evidence-store.ts'
import { ensureAuditKey, rotateAuditKey } from '../../server/audit/keys.ts'
import { setHold } from '../../server/audit/status.ts'
import { verifyChain } from '../../server/audit/verify.ts'
import { connectPostgres, type DatabaseHandle } from '../../server/db/client.ts'
import { migrateToLatest } from '../../server/db/migrate.ts'
import { newId } from '../../server/ids.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { fleetseal, givenLog, givenRows } from '../support/audit.ts'
import { createTestDatabase } from '../support/database.ts'

/* A role of its own for the server, on a real PostgreSQL: it runs everything and can change nothing that is recorded. */
let owner: DatabaseHandle & { kind: 'postgres' }
let server: DatabaseHandle & { kind: 'postgres' }
let api: TestApi
const role = `fleetseal_${randomUUID().slice(0, 8)}`

beforeAll(async () => {
  const made = await createTestDatabase()
  if (made.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  owner = made
  await sql.raw(`create role ${role} login password 'p'`).execute(owner.db)
  const url = new URL(owner.url)
  url.username = role
  url.password = 'p'
  const handle = connectPostgres(url.href, { max: 4 })
  if (handle.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  server = handle
  expect(await migrateToLatest(server, owner.url)).toEqual([])
  api = await startApi(server)
  await ensureAuditKey(api.ctx)
  await givenLog(api.ctx)
}, 60_000)
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
  await sql.raw(`drop owned by ${role}`).execute(owner.db)
  await sql.raw(`drop role ${role}`).execute(owner.db)
  await owner[Symbol.asyncDispose]()
})

const refused: string[] = [
  `update audit_event set actor = 'nobody'`,
  `update audit_event set chain_no = 99`,
  'delete from audit_event',
  'truncate audit_event',
  'drop table audit_event',
  'alter table audit_event disable trigger all',
  'drop trigger audit_append_only on audit_event',
  'alter table audit_event owner to current_user',
  'create or replace function audit_append_only() returns trigger language plpgsql as $$ begin return old; end $$',
  `insert into audit_event (at, actor, action, subject, facts, chain_no, prev_hash, hash)
     values (now(), 'a', 'b', 'c', '{}', 12, '\\x00', '\\x00')`,
  `update audit_checkpoint set hash = '\\x00'`,
  'delete from audit_checkpoint',
  'truncate audit_checkpoint',
  `update audit_key set public_key = public_key`,
  'delete from audit_key',
  `insert into audit_start (chain_no, hash, rows, dropped_at) values (1, '\\x00', 1, now())`,
  'delete from audit_hold',
  'update audit_hold set held = false',
  `update schema_migration set sha256 = ''`,
  'set session_replication_role = replica',
  'create table public.audit_event_2 (x int)',
  `select grant_server_role('${role}')`,
]
test.each(refused)('as the role of the server: %s', async (statement) => {
  await expect(sql.raw(statement).execute(server.db)).rejects.toThrow(
    /permission denied|must be owner/,
  )
})

test('the only way to a place in the chain is behind its end, and rows are dropped only as the database allows', async () => {
  await expect(
    sql`select audit_seal(array[1], array[2], array['00'], array['00'])`.execute(server.db),
  ).rejects.toThrow('not the next place')
  await expect(sql`select audit_drop(2)`.execute(server.db)).rejects.toThrow('no checkpoint')
  const { rows } = await sql<{
    no: number
  }>`select max(chain_no) as no from audit_checkpoint`.execute(server.db)
  await expect(sql`select audit_drop(${rows[0]?.no})`.execute(server.db)).rejects.toThrow('90 days')
  // A temporary table of the same name is not taken for ours.
  const client = new pg.Client({ connectionString: server.url })
  await client.connect()
  await client.query('create temp table audit_start (chain_no bigint)')
  await client.query('insert into audit_start values (1000)')
  await expect(client.query('delete from public.audit_event')).rejects.toThrow('permission denied')
  await client.end()
})

test('it records, seals, signs, verifies, holds and replaces the key', async () => {
  await givenRows(server, 3, { from: 11 })
  expect(await makeCheckpoint(api.ctx)).toBeDefined()
  const by = { actor: 'key:1', requestId: 'r' }
  await rotateAuditKey(api.ctx, { id: newId(api.ctx.clock.now()), ...by })
  await setHold(api.ctx, { held: true, reason: 'an inquiry', ...by })
  await givenRows(server, 1, { from: 20 })
  expect(await verifyChain(server, { limit: 1_000 })).toMatchObject({ ok: true })
})

test('a model is made, a group filled and a key revoked: everything else works as before', async () => {
  const group = await api.call('POST', '/groups', { name: 'one' })
  expect(group.status).toBe(201)
  const key = await api.call('POST', '/api-keys', { name: 'two', role: 'viewer' })
  expect(key.status).toBe(201)
  expect((await api.call('DELETE', `/api-keys/${String(key.body['id'])}`)).status).toBe(204)
  expect((await api.call('DELETE', `/groups/${String(group.body['id'])}`)).status).toBe(204)
  expect((await api.call('GET', '/audit/verify')).body).toMatchObject({ ok: true })
})

test('the status says whether the rights are separated', async () => {
  expect((await api.call('GET', '/audit/status')).body).toMatchObject({
    rightsSeparated: true,
    excessiveRights: [],
  })
  expect(await excessiveRights(owner.db)).toEqual(['UPDATE', 'DELETE', 'TRUNCATE', 'OWNER'])
})

test('migrated already, it starts without the owner; with a migration to come it says who has to', async () => {
  expect(await migrateToLatest(server)).toEqual([])
  await sql`delete from schema_migration where name = '0044_audit_evidence.sql'`.execute(owner.db)
  await expect(migrateToLatest(server)).rejects.toThrow('FLEETSEAL_MIGRATION_DATABASE_URL')
  const text = await readFile('migrations/0044_audit_evidence.sql')
  const hash = createHash('sha256').update(text).digest('hex')
  await sql`insert into schema_migration (name, sha256) values ('0044_audit_evidence.sql', ${hash})`.execute(
    owner.db,
  )
})

test('the command gives the rights too, and not to the owner', async () => {
  const other = `${role}_other`
  await sql.raw(`create role ${other} login`).execute(owner.db)
  const env = { FLEETSEAL_MIGRATION_DATABASE_URL: owner.url }
  const given = await fleetseal(['database', 'grant', '--role', other], env)
  expect(given, given.err).toMatchObject({ code: 0 })
  const { rows } = await sql<{ may: boolean }>`
    select has_table_privilege(${other}, 'audit_event', 'select') and has_table_privilege(${other}, 'device', 'update')
      and not has_table_privilege(${other}, 'audit_event', 'update') as may`.execute(owner.db)
  expect(rows).toEqual([{ may: true }])
  const refusal = await fleetseal(['database', 'grant', '--role', 'postgres'], env)
  expect(refusal.code).toBe(1)
  expect(refusal.err).toContain('Make another role for the server')
  expect((await fleetseal(['database', 'grant', '--role', 'nobody'], env)).code).toBe(1)
  expect((await fleetseal(['database', 'grant', '--role', other])).code).toBe(2)
  await sql.raw(`drop owned by ${other}`).execute(owner.db)
  await sql.raw(`drop role ${other}`).execute(owner.db)
})

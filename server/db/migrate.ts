import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'

import { sql } from 'kysely'
import pg from 'pg'

import type { DatabaseHandle } from './client.ts'
import { MigrationError } from './migration-error.ts'

const folder = new URL('../../migrations/', import.meta.url)
/** Any constant will do, as long as nothing else in the same database locks on it. */
const advisoryLock = 4_931_105

interface Script {
  name: string
  text: string
  sha256: string
}

/** What a migration needs: several statements in one call, and a way to ask. */
interface ScriptRunner {
  exec: (script: string) => Promise<unknown>
  query: (text: string, values?: unknown[]) => Promise<{ rows: unknown[] }>
}

/**
 * Applies the SQL files of `migrations/` that were not applied yet, in name order, each in its own transaction,
 * under an advisory lock: two processes that start together migrate once. Returns the names applied now.
 *
 * With `ownerUrl` it is the owner of the tables who does, and gives the role of `handle` the rights to run the server and no more
 * (grant_server_role of migration 0044).
 *
 * @throws MigrationError when the role of the server may not change the tables and has to, when a file that was applied has changed, or the database knows files that this version does not
 */
export async function migrateToLatest(
  handle: DatabaseHandle,
  ownerUrl?: string,
): Promise<string[]> {
  const scripts = await readScripts()
  if (handle.kind === 'pglite') {
    return await apply(
      {
        exec: (script) => handle.pglite.exec(script),
        query: (text, values) => handle.pglite.query(text, values),
      },
      scripts,
    )
  }
  // A connection of its own: the advisory lock belongs to the session, and a pool may hand out another.
  const client = new pg.Client({ connectionString: ownerUrl ?? handle.url })
  // A connection that breaks is heard of from the statement that it breaks; without a listener it would end the process.
  client.on('error', () => {})
  await client.connect()
  try {
    return await apply(
      {
        exec: (script) => client.query(script),
        query: (text, values) => client.query(text, values),
      },
      scripts,
      ownerUrl === undefined ? undefined : await roleOf(handle.url),
    )
  } finally {
    await client.end()
  }
}

/**
 * For a process that joins others and changes no tables.
 *
 * @throws MigrationError when the database is not of this version
 */
export async function assertMigrated({ db }: DatabaseHandle): Promise<void> {
  const scripts = await readScripts()
  const { rows: found } = await sql<{ name: string | null }>`
    select to_regclass('schema_migration')::text as name`.execute(db)
  const { rows } = found[0]?.name
    ? await sql<{ name: string; sha256: string }>`
        select name, sha256 from schema_migration`.execute(db)
    : { rows: [] }
  const applied = new Map(rows.map(({ name, sha256 }) => [name, sha256]))
  check(applied, scripts)
  if (scripts.every(({ name }) => applied.has(name))) return
  throw new MigrationError(
    'The database is not of this version yet, and a broker does not change it: start the process with FLEETSEAL_ROLE=api (or all) of this version first',
  )
}

async function readScripts(): Promise<Script[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).toSorted()
  return await Promise.all(
    names.map(async (name) => {
      const text = await readFile(new URL(name, folder), 'utf8')
      return { name, text, sha256: createHash('sha256').update(text).digest('hex') }
    }),
  )
}

/** Whom a connection logs in as. */
async function roleOf(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<{ role: string }>('select current_user as role')
    return rows[0]?.role ?? ''
  } finally {
    await client.end()
  }
}

async function apply(
  runner: ScriptRunner,
  scripts: Script[],
  serverRole?: string,
): Promise<string[]> {
  await runner.query('select pg_advisory_lock($1)', [advisoryLock])
  try {
    const { rows: found } = await runner.query(
      "select to_regclass('schema_migration')::text as name",
    )
    // Not "if not exists": a role that only runs the server may not even ask for that.
    if ((found as { name: string | null }[])[0]?.name == null) {
      await runner.exec(
        'create table schema_migration (name text primary key, sha256 text not null, applied_at timestamptz not null default now())',
      )
    }
    const { rows } = await runner.query('select name, sha256 from schema_migration')
    const applied = new Map(
      (rows as { name: string; sha256: string }[]).map((row) => [row.name, row.sha256]),
    )
    check(applied, scripts)
    const pending = scripts.filter(({ name }) => !applied.has(name))
    if (pending.length > 0) await assertOwner(runner)
    for (const script of pending) {
      // Names and hashes come from our own files; quoting is still done by the database.
      const literal = (text: string) => `'${text.replaceAll("'", "''")}'`
      await runner.exec(
        `begin;\n${script.text}\ninsert into schema_migration (name, sha256) values (${literal(script.name)}, ${literal(script.sha256)});\ncommit;`,
      )
    }
    if (serverRole !== undefined) {
      const { rows: owners } = await runner.query('select current_user as role')
      const isOwn = (owners as { role: string }[])[0]?.role === serverRole
      if (!isOwn) await runner.query('select grant_server_role($1)', [serverRole])
    }
    return pending.map(({ name }) => name)
  } catch (error) {
    await runner.exec('rollback').catch(() => {})
    throw error
  } finally {
    await runner.query('select pg_advisory_unlock($1)', [advisoryLock])
  }
}

/** Fails before anything is changed, and says what to do. */
async function assertOwner(runner: ScriptRunner): Promise<void> {
  const { rows } = await runner.query(
    "select pg_has_role(current_user, relowner, 'MEMBER') as may from pg_class where oid = 'schema_migration'::regclass",
  )
  if ((rows as { may: boolean }[])[0]?.may === true) return
  throw new MigrationError(
    'The tables have to be changed for this version, which the role of DATABASE_URL may not do: set FLEETSEAL_MIGRATION_DATABASE_URL to the owner of the tables',
  )
}

function check(applied: Map<string, string>, scripts: Script[]): void {
  const known = new Map(scripts.map(({ name, sha256 }) => [name, sha256]))
  for (const [name, sha256] of applied) {
    const ours = known.get(name)
    if (ours === undefined) {
      throw new MigrationError(
        `The database was migrated by a newer version (${name} is unknown here): start that version, or restore a backup`,
      )
    }
    if (ours !== sha256) {
      throw new MigrationError(
        `migrations/${name} was changed after it had been applied to this database: put the file back as it was, or start the version that applied it`,
      )
    }
  }
}

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'

import pg from 'pg'
import { z } from 'zod'

import type { OpeningKey } from '../../pki/sealed/sealed-file.ts'
import type { DatabaseHandle } from '../db/client.ts'
import { readArchive } from './archive.ts'
import { BackupError } from './backup-error.ts'
import type { Manifest } from './manifest.ts'

const folder = new URL('../../migrations/', import.meta.url)

export interface Loader extends AsyncDisposable {
  exec: (script: string) => Promise<unknown>
  query: (text: string, values?: unknown[]) => Promise<Record<string, string>[]>
}

/** One session of its own, without limits of time. */
export async function openLoader(handle: DatabaseHandle, ownerUrl?: string): Promise<Loader> {
  if (handle.kind === 'pglite') {
    const { pglite } = handle
    return {
      exec: (script) => pglite.exec(script),
      query: async (text, values) =>
        (await pglite.query<Record<string, string>>(text, values)).rows,
      [Symbol.asyncDispose]: async () => {},
    }
  }
  const client = new pg.Client({
    connectionString: ownerUrl ?? handle.url,
    application_name: 'fleetseal',
  })
  client.on('error', () => {})
  await client.connect()
  return {
    exec: (script) => client.query(script),
    query: async (text, values) => (await client.query<Record<string, string>>(text, values)).rows,
    [Symbol.asyncDispose]: () => client.end(),
  }
}

/** @throws BackupError when there is anything in the database already */
export async function assertEmpty(loader: Loader): Promise<void> {
  const rows = await loader.query(
    "select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' limit 3",
  )
  if (rows.length === 0) return
  throw new BackupError(
    `The database is not empty (it has ${rows.map((row) => row['name']).join(', ')}): restore into a new one`,
  )
}

/**
 * Brings an empty database to exactly where the backup's was: the same migrations, then its rows, all in one transaction.
 *
 * @throws BackupError when this version does not know a migration of the backup
 */
export async function loadTables(
  loader: Loader,
  source: { path: string; key: OpeningKey; manifest: Manifest },
): Promise<void> {
  const scripts = await scriptsOf(source.manifest)
  await loader.exec('begin')
  try {
    await loader.exec(
      'create table schema_migration (name text primary key, sha256 text not null, applied_at timestamptz not null default now())',
    )
    for (const { name, text, sha256 } of scripts) {
      await loader.exec(text)
      await loader.query('insert into schema_migration (name, sha256) values ($1, $2)', [
        name,
        sha256,
      ])
    }
    await fill(loader, source)
    await loader.exec('commit')
  } catch (error) {
    await loader.exec('rollback').catch(() => {})
    throw error
  }
}

async function scriptsOf({ migrations }: Manifest) {
  return await Promise.all(
    migrations.map(async ({ name, sha256 }) => {
      const isName = /^\d{4}_[a-z0-9_]+\.sql$/.test(name)
      const text = isName ? await readFile(new URL(name, folder), 'utf8').catch(() => '') : ''
      if (createHash('sha256').update(text).digest('hex') === sha256) return { name, text, sha256 }
      throw new BackupError(
        `The backup was made by another version of Fleetseal (its migration ${name} is not known here): restore it with that version or a newer one`,
      )
    }),
  )
}

/** References and triggers come back after the rows, so that the order of the tables does not matter; references are checked then. */
async function fill(
  loader: Loader,
  { path, key }: { path: string; key: OpeningKey },
): Promise<void> {
  const tables = (
    await loader.query(
      "select format('%I', relname) as name from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> 'schema_migration'",
    )
  ).map((row) => row['name'])
  const references = await loader.query(
    "select conrelid::regclass::text as on, quote_ident(conname) as name, pg_get_constraintdef(oid) as definition from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace",
  )
  for (const table of tables) await loader.exec(`alter table ${table} disable trigger user`)
  for (const { on, name } of references) {
    await loader.exec(`alter table ${on} drop constraint ${name}`)
  }
  // A migration may have put rows in.
  if (tables.length > 0) await loader.exec(`truncate ${tables.join(', ')}`)
  await copyRows(loader, path, key)
  for (const { on, name, definition } of references) {
    await loader.exec(`alter table ${on} add constraint ${name} ${definition}`)
  }
  for (const table of tables) await loader.exec(`alter table ${table} enable trigger user`)
}

const Sequences = z.array(z.strictObject({ name: z.string(), last: z.string().regex(/^\d+$/) }))

async function copyRows(loader: Loader, path: string, key: OpeningKey): Promise<void> {
  let name = ''
  let insert = ''
  for await (const event of readArchive(path, key)) {
    if (event.kind === 'part') {
      name = event.name
      if (name.startsWith('table:')) insert = await insertInto(loader, name.slice(6))
      // Files and artifacts follow; they are for another pass.
      if (name.startsWith('file:') || name.startsWith('artifact:')) return
    } else if (event.kind === 'data' && name.startsWith('table:')) {
      await loader.query(insert, [event.bytes.toString()])
    } else if (event.kind === 'data' && name === 'sequences') {
      for (const { name: sequence, last } of Sequences.parse(JSON.parse(event.bytes.toString()))) {
        await loader.query('select setval(format($1, $2::text)::regclass, $3::bigint)', [
          'public.%I',
          sequence,
          last,
        ])
      }
    }
  }
}

/** The names are those of the database that was just made, not of the file. */
async function insertInto(loader: Loader, table: string): Promise<string> {
  const columns = await loader.query(
    "select quote_ident(table_name) as on, quote_ident(column_name) as name from information_schema.columns where table_schema = 'public' and table_name = $1 and is_generated = 'NEVER' order by ordinal_position",
    [table],
  )
  const on = columns[0]?.['on']
  if (on === undefined)
    throw new BackupError(`The backup has a table ${table} that is not known here`)
  const names = columns.map((column) => column['name']).join(', ')
  return `insert into ${on} (${names}) overriding system value select ${names} from json_populate_recordset(null::${on}, $1::json)`
}

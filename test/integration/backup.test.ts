import {
  appendFile,
  cp,
  mkdtemp,
  open,
  readdir,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { createBackup } from '../../server/backup/create.ts'
import { drill } from '../../server/backup/drill.ts'
import { inspectBackup } from '../../server/backup/inspect.ts'
import { loadTables, openLoader } from '../../server/backup/load.ts'
import { restoreBackup } from '../../server/backup/restore.ts'
import { connectPostgres, type Db, openEmbedded } from '../../server/db/client.ts'
import { migrateToLatest } from '../../server/db/migrate.ts'
import { createEmptyDatabase } from '../support/empty-database.ts'
import { oldBackup, oldPassphrase } from '../support/old-installation.ts'

const key = { passphrase: oldPassphrase }
const now = new Date('2026-12-01T00:00:00Z')
let scratch: string
let count = 0
/** An installation on PostgreSQL, restored from the fixture of the release before; `backup` is made of it. */
let first: { dataDir: string; kekFile: string; databaseUrl: string }
let backup: string

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'fleetseal-backup-'))
  first = { ...place(), databaseUrl: await createEmptyDatabase() }
  await restoreBackup(first, { path: oldBackup, key, now })
  backup = join(scratch, 'first.backup')
  await using handle = connectPostgres(first.databaseUrl)
  const order = { path: backup, key, includes: ['artifacts', 'kek'] as const, now, version: 'test' }
  await createBackup({ db: handle.db, config: first }, order)
})
afterAll(async () => await rm(scratch, { recursive: true, force: true }))

function place(): { dataDir: string; kekFile: string } {
  const dataDir = join(scratch, `data-${(count += 1)}`)
  return { dataDir, kekFile: join(dataDir, 'kek') }
}

/** Every row of every table, as the database says it; what the restore itself writes is left out. */
async function contents(db: Db): Promise<Record<string, string>> {
  const { rows } = await sql<{ name: string }>`
    select relname as name from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r' and relname not in ('schema_migration', 'crl')
    order by 1`.execute(db)
  const all: Record<string, string> = {}
  for (const { name } of rows) {
    const of = sql.table(name)
    const text =
      name === 'authority'
        ? sql`to_jsonb(t) - 'revocation_rev'`
        : name === 'audit_event'
          ? sql`to_jsonb(t) - 'chain_no' - 'prev_hash' - 'hash'`
          : sql`to_jsonb(t)`
    const kept = name === 'audit_event' ? sql`where action <> 'backup.restore'` : sql``
    const digest = await sql<{ md5: string }>`
      select md5(coalesce(string_agg(row, e'\n' order by row), '')) as md5
      from (select (${text})::text as row from ${of} t ${kept}) rows`.execute(db)
    all[name] = digest.rows[0]?.md5 ?? ''
  }
  return all
}

test('restored into another PostgreSQL and into the embedded database, every row is the same', async () => {
  await using source = connectPostgres(first.databaseUrl)
  const wanted = await contents(source.db)
  expect(Object.keys(wanted).length).toBeGreaterThan(60)
  const url = await createEmptyDatabase()
  const second = { ...place(), databaseUrl: url }
  const report = await restoreBackup(second, { path: backup, key, now })
  expect(report.migrated).toEqual([])
  await using other = connectPostgres(url)
  expect(await contents(other.db)).toEqual(wanted)
  const third = { ...place(), databaseUrl: undefined }
  await restoreBackup(third, { path: backup, key, now })
  await using embedded = await openEmbedded(join(third.dataDir, 'db'))
  expect(await contents(embedded.db)).toEqual(wanted)
  // The next row does not take the number of one that is there.
  for (const { db } of [other, embedded]) {
    const { rows } = await sql<{ ok: boolean }>`
      select nextval(pg_get_serial_sequence('audit_event', 'seq')) > (select max(seq) from audit_event) as ok`.execute(
      db,
    )
    expect(rows[0]?.ok).toBe(true)
    const guarded = sql`update audit_event set actor = 'x'`.execute(db)
    await expect(guarded).rejects.toThrow('append-only')
  }
})

test('revocation lists go on above every number that was published since', async () => {
  const newest = async (db: Db) =>
    (await sql<{ n: number }>`select max(number) as n from crl`.execute(db)).rows[0]?.n ?? 0
  await using source = connectPostgres(first.databaseUrl)
  const target = { ...place(), databaseUrl: await createEmptyDatabase() }
  const aDayLater = new Date(now.getTime() + 86_400_000)
  await restoreBackup(target, { path: backup, key, now: aDayLater })
  await using restored = connectPostgres(target.databaseUrl)
  // One a second, for a day.
  expect(await newest(restored.db)).toBeGreaterThanOrEqual((await newest(source.db)) + 86_400)
})

test('a drill restores, looks at everything and leaves nothing', async () => {
  const before = (await readdir(tmpdir())).filter((name) => name.startsWith('fleetseal-drill-'))
  const report = await drill(first, { path: backup, key, now })
  expect(report).toMatchObject({ revoked: 1, backup: { artifacts: 1, madeAt: now.toISOString() } })
  expect(report.certificates).toBeGreaterThan(4)
  expect(report.audit.rows).toBeGreaterThan(20)
  const after = (await readdir(tmpdir())).filter((name) => name.startsWith('fleetseal-drill-'))
  expect(after.filter((name) => !before.includes(name))).toEqual([])
})

test('a database or a data directory in use is not written to', async () => {
  const order = { path: backup, key, now }
  const full = restoreBackup({ ...place(), databaseUrl: first.databaseUrl }, order)
  await expect(full).rejects.toThrow('not empty')
  const used = { ...first, databaseUrl: await createEmptyDatabase() }
  await expect(restoreBackup(used, order)).rejects.toThrow('has an installation already')
})

test('another key, and any change of the file, is refused before anything is made', async () => {
  const changed = join(scratch, 'changed.backup')
  const target = { ...place(), databaseUrl: undefined }
  const refused = async (how: (path: string) => Promise<void>, why: string | RegExp) => {
    await cp(backup, changed)
    await how(changed)
    await expect(restoreBackup(target, { path: changed, key, now })).rejects.toThrow(why)
    await expect(readdir(target.dataDir)).rejects.toThrow('ENOENT')
  }
  const flip = async (path: string, at: number) => {
    await using file = await open(path, 'r+')
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at)
    await file.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at)
  }
  const { size } = await stat(backup)
  await refused(async (path) => await flip(path, 0), 'no sealed file')
  // What stands there is random text: another letter of it, or none that may stand there.
  await refused(
    async (path) => await flip(path, 60),
    /does not open|The head of the sealed file is damaged/,
  )
  await refused(async (path) => await flip(path, size >> 1), 'changed or cut off')
  await refused(async (path) => await truncate(path, size - 100), 'changed or cut off')
  await refused(async (path) => await truncate(path, 90 + 65_552), 'changed or cut off')
  await refused(async (path) => await appendFile(path, 'more'), 'changed or cut off')
  const wrong = { path: backup, key: { passphrase: 'another passphrase' }, now }
  await expect(restoreBackup(target, wrong)).rejects.toThrow('does not open')
  await expect(readdir(target.dataDir)).rejects.toThrow('ENOENT')
  await expect(inspectBackup(backup, key)).resolves.toMatchObject({ manifest: { version: 'test' } })
})

test('without the key-encryption key it is asked for; the one after a rotation is told from the one before', async () => {
  const bare = join(scratch, 'without-kek.backup')
  await using handle = connectPostgres(first.databaseUrl)
  const order = { path: bare, key, includes: [], now, version: 'test' }
  await createBackup({ db: handle.db, config: first }, order)
  const target = { ...place(), databaseUrl: await createEmptyDatabase() }
  const restore = async (kekFile: string) =>
    await restoreBackup({ ...target, kekFile }, { path: bare, key, now })
  await expect(restore(target.kekFile)).rejects.toThrow('holds no key-encryption key')
  const later = join(scratch, 'after-rotation.kek')
  await writeFile(later, Buffer.alloc(32, 7), { mode: 0o600 })
  await expect(restore(later)).rejects.toThrow('rotated since')
  const { next } = await restore(first.kekFile)
  expect(next.join('\n')).toContain('1 artifacts are not in the backup')
})

test('a backup that cannot be finished leaves no file', async () => {
  const folder = await mkdtemp(join(scratch, 'unfinished-'))
  const empty = { ...first, dataDir: folder }
  await using handle = connectPostgres(first.databaseUrl)
  const order = {
    path: join(folder, 'x.backup'),
    key,
    includes: ['artifacts'] as const,
    now,
    version: 'test',
  }
  await expect(createBackup({ db: handle.db, config: empty }, order)).rejects.toThrow('ENOENT')
  expect(await readdir(folder)).toEqual([])
})

/** The database as the release before left it. */
async function oldDatabase(): Promise<string> {
  const url = await createEmptyDatabase()
  const { manifest } = await inspectBackup(oldBackup, key)
  await using handle = connectPostgres(url)
  await using loader = await openLoader(handle)
  await loadTables(loader, { path: oldBackup, key, manifest })
  return url
}

test('two processes that start the new version on the old database migrate it once', async () => {
  const url = await oldDatabase()
  await using one = connectPostgres(url)
  await using two = connectPostgres(url)
  const done = await Promise.all([migrateToLatest(one), migrateToLatest(two)])
  expect(done.filter((names) => names.length > 0)).toHaveLength(1)
  expect(done.flat()[0]).toBe('0038_roles.sql')
})

test('a migration that is cut off is done by the next start, and nothing is lost', async () => {
  const url = await oldDatabase()
  await using handle = connectPostgres(url)
  await using other = connectPostgres(url)
  const count = async () =>
    (await sql<{ n: number }>`select count(*)::int as n from audit_event`.execute(handle.db))
      .rows[0]?.n
  const before = await count()
  // It has to wait in its middle for a table that is locked, and is cut off there.
  await other.db.connection().execute(async (session) => {
    await sql`begin`.execute(session)
    await sql`lock table audit_event in access share mode`.execute(session)
    const cut = expect(migrateToLatest(handle)).rejects.toThrow()
    for (;;) {
      const { rows } = await sql<{ n: number }>`
        select count(pg_terminate_backend(pid))::int as n from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and pid <> pg_backend_pid()`.execute(
        handle.db,
      )
      if ((rows[0]?.n ?? 0) > 0) break
    }
    await cut
    await sql`rollback`.execute(session)
  })
  const { rows } = await sql`select name from schema_migration where name > '0037'`.execute(
    handle.db,
  )
  expect(rows.length).toBeGreaterThan(0)
  expect((await migrateToLatest(handle)).length).toBeGreaterThan(0)
  expect(await migrateToLatest(handle)).toEqual([])
  expect(await count()).toBe(before)
})

test('a database of a newer version is left alone, and so is a backup of one', async () => {
  const url = await createEmptyDatabase()
  await using handle = connectPostgres(url)
  await migrateToLatest(handle)
  await sql`insert into schema_migration (name, sha256) values ('9999_later.sql', repeat('0', 64))`.execute(
    handle.db,
  )
  await expect(migrateToLatest(handle)).rejects.toThrow('newer version')
  const path = join(scratch, 'newer.backup')
  const { dataDir, kekFile } = first
  const config = { dataDir, kekFile, databaseUrl: url }
  await createBackup({ db: handle.db, config }, { path, key, includes: ['kek'], now, version: '9' })
  const restored = restoreBackup(
    { ...place(), databaseUrl: await createEmptyDatabase() },
    { path, key, now },
  )
  await expect(restored).rejects.toThrow('another version of Fleetseal')
})

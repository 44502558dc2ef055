import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { sql } from 'kysely'

import type { SealingKey } from '../../pki/sealed/sealed-file.ts'
import { hasCode, readOptional } from '../authorities/files.ts'
import type { Config } from '../config.ts'
import type { Db, Tx } from '../db/client.ts'
import { ArchiveWriter } from './archive.ts'
import { BackupError } from './backup-error.ts'
import { type BackupSummary, type Content, keptFiles, type Manifest } from './manifest.ts'

const rowsAtOnce = 200
const maxFileBytes = 64 * 1024

export interface BackupOrder {
  path: string
  key: SealingKey
  includes: readonly Content[]
  now: Date
  version: string
}

type Source = { db: Db; config: Pick<Config, 'dataDir' | 'kekFile' | 'databaseUrl'> }

/**
 * Writes a backup: every table as of one moment, then files and artifacts. It has its name only when it is whole. The embedded
 * database, which has one connection, waits while its tables are read; PostgreSQL does not.
 *
 * @throws BackupError
 */
export async function createBackup(source: Source, order: BackupOrder): Promise<BackupSummary> {
  const temporary = `${order.path}.${randomBytes(4).toString('hex')}.part`
  try {
    const summary = await write(source, order, temporary)
    await rename(temporary, order.path)
    await using folder = await open(dirname(order.path), 'r')
    await folder.sync()
    return summary
  } catch (error) {
    await rm(temporary, { force: true })
    throw hasCode(error, 'ENOSPC') || hasCode(error, 'EDQUOT')
      ? new BackupError(`There is no room for the backup ${order.path}`, { cause: error })
      : error
  }
}

async function write(
  { db, config }: Source,
  order: BackupOrder,
  path: string,
): Promise<BackupSummary> {
  await using file = await open(path, 'wx', 0o600)
  const archive = await ArchiveWriter.begin(file, order.key)
  const kind = config.databaseUrl === undefined ? 'pglite' : 'postgres'
  // One of the few places where something else than the database is touched inside a transaction: the snapshot is what it is for.
  const { manifest, tables, hashes } = await db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (tx) => await writeTables(tx, archive, { order, kind }))
  const files = await writeFiles(archive, config, order.includes)
  const artifacts = order.includes.includes('artifacts')
    ? await writeArtifacts(archive, config.dataDir, hashes)
    : { count: 0, bytes: 0 }
  await archive.close()
  await file.sync()
  return { manifest, tables, files, artifacts }
}

async function writeTables(
  tx: Tx,
  archive: ArchiveWriter,
  { order, kind }: { order: BackupOrder; kind: Manifest['database'] },
) {
  const migrations = await sql<{ name: string; sha256: string }>`
    select name, sha256 from schema_migration order by name`.execute(tx)
  const manifest: Manifest = {
    format: 1,
    createdAt: order.now.toISOString(),
    version: order.version,
    database: kind,
    migrations: migrations.rows,
    includes: [...order.includes],
  }
  await writePart(archive, 'manifest', Buffer.from(JSON.stringify(manifest)))
  const { rows } = await sql<{ name: string }>`
    select relname as name from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> 'schema_migration'
    order by relname`.execute(tx)
  const tables: Record<string, number> = {}
  for (const { name } of rows) tables[name] = await writeTable(tx, archive, name)
  // After the tables: a number that was given out since is not given out twice.
  const sequences = await sql`select sequencename as name, last_value::text as last
    from pg_sequences where schemaname = 'public' and last_value is not null order by 1`.execute(tx)
  await writePart(archive, 'sequences', Buffer.from(JSON.stringify(sequences.rows)))
  const artifacts = await sql<{ sha256: string }>`
    select sha256 from artifact order by sha256`.execute(tx)
  return { manifest, tables, hashes: artifacts.rows.map(({ sha256 }) => sha256) }
}

/** Rows as JSON, by the database itself: it reads the same text back, to the last digit. */
async function writeTable(tx: Tx, archive: ArchiveWriter, name: string): Promise<number> {
  await archive.part(`table:${name}`)
  await sql`declare backup_rows no scroll cursor for
    select row_to_json(t)::text as row from only ${sql.table(name)} t`.execute(tx)
  for (;;) {
    const { rows } = await sql<{ row: string }>`
      fetch ${sql.lit(rowsAtOnce)} from backup_rows`.execute(tx)
    if (rows.length === 0) break
    const text = `[${rows.map(({ row }) => row).join(',')}]`
    await archive.data(Buffer.from(text), rows.length)
  }
  await sql`close backup_rows`.execute(tx)
  return (await archive.endPart()).rows
}

async function writePart(archive: ArchiveWriter, name: string, bytes: Buffer): Promise<void> {
  await archive.part(name)
  await archive.data(bytes)
  await archive.endPart()
}

async function writeFiles(
  archive: ArchiveWriter,
  { dataDir, kekFile }: Pick<Config, 'dataDir' | 'kekFile'>,
  includes: readonly Content[],
): Promise<string[]> {
  const written: string[] = []
  const paths = keptFiles.map((name): [string, string] => [name, join(dataDir, name)])
  if (includes.includes('kek')) paths.push(['kek', kekFile])
  for (const [name, path] of paths) {
    const bytes = await readOptional(path, maxFileBytes)
    if (!bytes) continue
    await writePart(archive, `file:${name}`, bytes)
    written.push(name)
  }
  return written
}

/** They never change, and none is removed while its row is there: no snapshot is needed. */
async function writeArtifacts(archive: ArchiveWriter, dataDir: string, hashes: readonly string[]) {
  let bytes = 0
  for (const sha256 of hashes) {
    const path = join(dataDir, 'artifacts', sha256.slice(0, 2), sha256.slice(2, 4), sha256)
    await archive.part(`artifact:${sha256}`)
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
      await archive.data(chunk as Buffer)
    }
    bytes += (await archive.endPart()).bytes
  }
  return { count: hashes.length, bytes }
}

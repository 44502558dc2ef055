import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { LogEntryTable, MetadataFileTable } from '../db/schema.ts'

export type LogEntry = Selectable<LogEntryTable>

export interface Edge {
  size: number
  /** Lower hex, left to right. */
  peaks: string[]
}

/** The right edge, locked until the transaction ends: leaves are numbered without gaps. */
export async function lockEdge(tx: Tx): Promise<Edge> {
  return await tx
    .selectFrom('log_edge')
    .select(['size', 'peaks'])
    .where('id', '=', 1)
    .forUpdate()
    .executeTakeFirstOrThrow()
}

export async function readEdge(db: Db): Promise<Edge> {
  return await db
    .selectFrom('log_edge')
    .select(['size', 'peaks'])
    .where('id', '=', 1)
    .executeTakeFirstOrThrow()
}

/** Of these leaves, lower hex, those that are in the log, and their numbers. */
export async function findLeaves(db: Db, leaves: readonly string[]): Promise<Map<string, number>> {
  const { rows } = await sql<{ leaf: string; no: number }>`
    select encode(leaf, 'hex') as leaf, no from log_entry
    where leaf in (select decode(hex, 'hex') from unnest(${[...leaves]}::text[]) hex)`.execute(db)
  return new Map(rows.map(({ leaf, no }) => [leaf, no]))
}

export interface NewEntry {
  no: number
  data: string
  /** Lower hex. */
  leaf: string
}

export interface Node {
  level: number
  no: number
  /** Lower hex. */
  hash: string
}

export async function insertLeaves(
  tx: Tx,
  { entries, nodes, edge }: { entries: readonly NewEntry[]; nodes: readonly Node[]; edge: Edge },
  now: Date,
): Promise<void> {
  await sql`insert into log_entry (no, data, leaf, at)
    select no, data, decode(leaf, 'hex'), ${now}
    from jsonb_to_recordset(${JSON.stringify(entries)}::jsonb) one(no bigint, data text, leaf text)`.execute(
    tx,
  )
  await sql`insert into log_node (level, no, hash)
    select level, no, decode(hash, 'hex')
    from jsonb_to_recordset(${JSON.stringify(nodes)}::jsonb) one(level int, no bigint, hash text)`.execute(
    tx,
  )
  await tx
    .updateTable('log_edge')
    .set({ size: edge.size, peaks: edge.peaks })
    .where('id', '=', 1)
    .execute()
}

/** Hashes of complete subtrees, by `level/no`. */
export async function readNodes(
  db: Db,
  wanted: readonly { level: number; index: number }[],
): Promise<Map<string, Buffer>> {
  if (wanted.length === 0) return new Map()
  const { rows } = await sql<{ level: number; no: number; hash: Buffer }>`
    select node.level, node.no, node.hash
    from unnest(${wanted.map(({ level }) => level)}::int[],
      ${wanted.map(({ index }) => index)}::bigint[]) wanted(level, no)
    join log_node node on node.level = wanted.level and node.no = wanted.no`.execute(db)
  return new Map(rows.map(({ level, no, hash }) => [`${level}/${no}`, hash]))
}

/** In order, from number `from` on. */
export async function listEntries(db: Db, from: number, limit: number): Promise<LogEntry[]> {
  return await db
    .selectFrom('log_entry')
    .selectAll()
    .where('no', '>=', from)
    .orderBy('no')
    .limit(limit)
    .execute()
}

export type Published = Pick<
  Selectable<MetadataFileTable>,
  'repository' | 'role' | 'version' | 'envelope' | 'published_at'
>

/** Where a reader of published files is: behind this one. Many are published at one instant. */
export type Place = Pick<Published, 'repository' | 'role' | 'version'> & { at: Date }

/** Before the first file of an instant. */
export function placeAt(at: Date): Place {
  return { at, repository: 'director', role: '', version: 0 }
}

/** Published metadata files behind a place, oldest first. */
export async function publishedAfter(db: Db, after: Place, limit: number): Promise<Published[]> {
  const { at, repository, role, version } = after
  return await db
    .selectFrom('metadata_file')
    .select(['repository', 'role', 'version', 'envelope', 'published_at'])
    .where('state', '=', 'published')
    .where(
      sql<boolean>`(published_at, repository, role, version)
        > (${at}::timestamptz, ${repository}::text, ${role}::text, ${version}::bigint)`,
    )
    .orderBy('published_at')
    .orderBy('repository')
    .orderBy('role')
    .orderBy('version')
    .limit(limit)
    .execute()
}

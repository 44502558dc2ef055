import { readdirSync } from 'node:fs'

import type pg from 'pg'

import { familyOf, residentBytes } from '../cpu.ts'

/** Of all processes of the server together. */
export interface Sample {
  /** Since the start of the soak. */
  atMs: number
  residentBytes: number
  heapBytes: number
  /** Open descriptors less the sockets of connected devices. */
  handles: number
  connected: number
  databaseBytes: number
  eventLoopP99Ms: number
}

const total = (pids: readonly number[], of: (pid: number) => number) =>
  pids.reduce((sum, pid) => {
    try {
      return sum + of(pid)
    } catch {
      return sum
    }
  }, 0)

/** The sum, or the largest, of a metric over its lines. */
function metric(text: string, name: string, join: (values: number[]) => number): number {
  const lines = text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? ([-+.0-9e]+)$`, 'gm'))
  return join([...lines].map(([, value]) => Number(value)))
}
const sum = (values: number[]) => values.reduce((one, other) => one + other, 0)

/**
 * What the server holds at this moment, by the operating system and by its own metrics.
 *
 * @param metrics the text of `/metrics`
 */
export async function sample(
  pid: number,
  metrics: string,
  database: pg.Client,
  atMs: number,
): Promise<Sample> {
  const pids = familyOf(pid)
  const connected = metric(metrics, 'fleetseal_mqtt_connections', sum)
  const { rows } = await database.query<{ bytes: string }>(
    'select pg_database_size(current_database()) as bytes',
  )
  return {
    atMs,
    connected,
    residentBytes: total(pids, residentBytes),
    heapBytes: metric(metrics, 'fleetseal_nodejs_heap_size_used_bytes', sum),
    handles: total(pids, (one) => readdirSync(`/proc/${one}/fd`).length) - connected,
    databaseBytes: Number(rows[0]?.bytes),
    eventLoopP99Ms:
      metric(metrics, 'fleetseal_nodejs_eventloop_lag_p99_seconds', (all) => Math.max(0, ...all)) *
      1_000,
  }
}

export interface TableSize {
  table: string
  bytes: number
  rows: number
}

/** The largest tables, with their indexes. */
export async function largestTables(database: pg.Client, limit = 8): Promise<TableSize[]> {
  const { rows } = await database.query<{ table: string; bytes: string; rows: string }>(
    `select relname as table, pg_total_relation_size(relid) as bytes, n_live_tup as rows
       from pg_stat_user_tables order by 2 desc limit $1`,
    [limit],
  )
  return rows.map(({ table, bytes, rows: n }) => ({
    table,
    bytes: Number(bytes),
    rows: Number(n),
  }))
}

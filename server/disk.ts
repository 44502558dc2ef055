import { statfs } from 'node:fs/promises'

import { sql } from 'kysely'
import type { Logger } from 'pino'

import type { Config } from './config.ts'
import type { Db } from './db/client.ts'
import type { Worker } from './workers/worker.ts'

/** `low`: somebody should make room. `full`: what is left is kept for what must go on; nothing new is stored. */
export type DiskState = 'ok' | 'low' | 'full'

export interface DiskSpace {
  state: DiskState
  /** Bytes that this user may still write in the data directory. */
  freeBytes: number
  totalBytes: number
}

/** How much room there is where the data directory is. */
export async function readDisk({
  dataDir,
  disk,
}: Pick<Config, 'dataDir' | 'disk'>): Promise<DiskSpace> {
  const { bavail, blocks, bsize } = await statfs(dataDir)
  const freeBytes = bavail * bsize
  return { state: stateOf(freeBytes, disk), freeBytes, totalBytes: blocks * bsize }
}

function stateOf(freeBytes: number, { lowBytes, reserveBytes }: Config['disk']): DiskState {
  if (freeBytes < reserveBytes) return 'full'
  return freeBytes < lowBytes ? 'low' : 'ok'
}

/**
 * Keeps the embedded database from a disk that has no room at all: when its log of changes cannot grow, the database ends, and the process
 * with it. Before it comes to that, changes are refused; they are taken again when there is room. PostgreSQL minds its own disk.
 */
export function diskWorkers(ctx: {
  config: Pick<Config, 'dataDir' | 'disk' | 'databaseUrl'>
  db: Db
  log: Logger
}): Worker[] {
  let last: DiskState = 'ok'
  const step = async () => {
    const { state, freeBytes } = await readDisk(ctx.config)
    if (state === last) return false
    if (ctx.config.databaseUrl === undefined) await allowChanges(ctx.db, state !== 'full')
    last = state
    const facts = { disk: state, freeBytes }
    if (state === 'ok') ctx.log.info(facts, 'there is room on the disk again')
    else if (state === 'low') ctx.log.warn(facts, 'the disk is nearly full')
    else ctx.log.error(facts, 'the disk is full: nothing new is stored')
    return false
  }
  return [{ name: 'disk', idleMs: 1_000, step }]
}

/** For the one session that the embedded database has. */
async function allowChanges(db: Db, allowed: boolean): Promise<void> {
  await sql`select set_config('default_transaction_read_only', ${allowed ? 'off' : 'on'}, false)`.execute(
    db,
  )
}

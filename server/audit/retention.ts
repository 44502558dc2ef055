import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'

import { syncDirectory } from '../authorities/files.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import type { Worker } from '../workers/worker.ts'
import { recordAudit } from './audit.ts'
import { chainBegin, droppableTo, dropUpTo, latestHold, lockHold } from './evidence-store.ts'
import { exportChain } from './export.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'config'>

const dayMs = 86_400_000
const idleMs = 600_000
/** Rows of one archive at most. */
const maxRows = 50_000

/** Where what was dropped from the database is kept, until somebody moves it elsewhere. */
export function archiveFolder({ dataDir }: Pick<Context['config'], 'dataDir'>): string {
  return join(dataDir, 'audit-archive')
}

/**
 * Moves the oldest rows, those of before `FLEETSEAL_AUDIT_DAYS`, from the database to an archive: a whole export that ends in a checkpoint, on the disk
 * before a row is dropped. What stays still verifies, since the hash it begins with was signed. Nothing under a hold. Returns the archive, or undefined
 * when there is nothing to do.
 */
export async function archiveOldest(ctx: Deps): Promise<string | undefined> {
  const { db, clock, config } = ctx
  if (config.auditDays === undefined || (await latestHold(db))?.held === true) return undefined
  const now = clock.now()
  const begin = (await chainBegin(db))?.chainNo ?? 0
  const before = new Date(now.getTime() - config.auditDays * dayMs)
  const bound = await droppableTo(db, { begin, before, rows: maxRows })
  if (bound === undefined) return undefined
  const name = `audit-${begin + 1}-${bound}.ndjson.gz`
  if (!(await writeArchive(ctx, name, { begin, bound }))) return undefined
  const isDropped = await inTransaction(db, async (tx) => {
    await lockHold(tx)
    // Another process was faster, or somebody has put the log on hold meanwhile.
    if (((await chainBegin(tx))?.chainNo ?? 0) !== begin) return false
    if ((await latestHold(tx))?.held === true) return false
    const rows = await dropUpTo(tx, bound)
    await recordAudit(tx, {
      at: now,
      actor: 'system',
      action: 'audit.archive',
      subject: 'audit',
      facts: { from: begin + 1, to: bound, rows, file: name },
    })
    return true
  })
  return isDropped ? name : undefined
}

/**
 * Returns false when another process dropped these rows meanwhile. What was read then may have a hole, so it must not take the place of the
 * archive which that process has written.
 */
async function writeArchive(
  ctx: Deps,
  name: string,
  { begin, bound }: { begin: number; bound: number },
): Promise<boolean> {
  const isStillThere = async () => ((await chainBegin(ctx.db))?.chainNo ?? 0) === begin
  const folder = archiveFolder(ctx.config)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, name)
  const part = `${path}.${randomUUID()}.part`
  try {
    const file = createWriteStream(part, { mode: 0o600, flush: true })
    const text = exportChain(ctx, { after: begin, upTo: bound })
    await pipeline(Readable.from(text), createGzip(), file)
    if (!file.closed) await once(file, 'close')
    // They were all there when the last one was read: nobody drops some of them only.
    if (!(await isStillThere())) return false
    await rename(part, path)
    await syncDirectory(folder)
    return true
  } catch (error) {
    if (await isStillThere()) throw error
    return false
  } finally {
    await rm(part, { force: true })
  }
}

export function retentionWorkers(ctx: Deps): Worker[] {
  const step = async () => {
    const file = await archiveOldest(ctx)
    if (file !== undefined) ctx.log.info({ file }, 'archived the oldest audit rows')
    return file !== undefined
  }
  return [{ name: 'audit-retention', idleMs, step }]
}

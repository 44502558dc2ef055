import { signCheckpoint } from '../../pki/audit/checkpoint.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import type { Worker } from '../workers/worker.ts'
import { brokenSinceCheckpoint, noteBroken } from './broken.ts'
import { type CheckpointRow, insertCheckpoint, latestCheckpoint } from './evidence-store.ts'
import { openAuditKey } from './keys.ts'
import { sealBatch } from './seal.ts'
import { chainHead } from './store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'kek'>

/** A checkpoint is signed after so many rows, or so long after the last one when there are new rows. */
export const checkpointRows = 1_000
export const checkpointMs = 5 * 60_000

const idleMs = 5_000

/**
 * Signs where the chain ends now. Undefined when there is no new row since the last checkpoint. In two processes at once, one of
 * the two checkpoints of that place is kept.
 */
export async function makeCheckpoint(ctx: Deps): Promise<CheckpointRow | undefined> {
  const { db, clock } = ctx
  const head = await chainHead(db)
  if (!head || head.chainNo <= ((await latestCheckpoint(db))?.chain_no ?? 0)) return undefined
  const key = await openAuditKey(ctx)
  const at = clock.now()
  const note = signCheckpoint({ log: key.log, ...head, at: at.toISOString() }, key.privateKey)
  const row = { chain_no: head.chainNo, hash: head.hash, at, key_id: key.id, note }
  await inTransaction(db, (tx) => insertCheckpoint(tx, row))
  return row
}

async function isDue({ db, clock }: Deps): Promise<boolean> {
  const head = await chainHead(db)
  const last = await latestCheckpoint(db)
  if (!last) return head !== undefined
  const fresh = (head?.chainNo ?? 0) - last.chain_no
  return (
    // Less than was signed: there is something to be told.
    fresh < 0 ||
    fresh >= checkpointRows ||
    (fresh > 0 && clock.now().getTime() - last.at.getTime() >= checkpointMs)
  )
}

/** What is there is signed also where it does not hold with what was before: what comes after that is protected again. */
export function checkpointWorkers(ctx: Deps & Pick<Context, 'log'>): Worker[] {
  const step = async () => {
    if (!(await isDue(ctx))) return false
    await noteBroken(ctx, await brokenSinceCheckpoint(ctx))
    await makeCheckpoint(ctx)
    return false
  }
  return [{ name: 'audit-checkpoint', idleMs, step }]
}

const maxBatchesAtStop = 20

/** What was recorded until now gets its place, and that is signed: for a server that stops. */
export async function closeChain(ctx: Deps & Pick<Context, 'log'>): Promise<void> {
  try {
    for (let n = 0; n < maxBatchesAtStop && (await sealBatch(ctx)) > 0; n++);
    await makeCheckpoint(ctx)
  } catch (error) {
    ctx.log.warn({ err: error }, 'the last audit rows are sealed and signed at the next start')
  }
}

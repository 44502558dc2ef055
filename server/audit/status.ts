import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { recordAudit } from './audit.ts'
import {
  chainBegin,
  type CheckpointRow,
  excessiveRights,
  type Hold,
  insertHold,
  latestCheckpoint,
  latestHold,
  lockHold,
} from './evidence-store.ts'
import { chainHead, countUnsealed } from './store.ts'

export interface AuditStatus {
  /** The first place that is kept. */
  begins: number
  head: { chainNo: number; hash: Buffer } | undefined
  unsealed: number
  checkpoint: CheckpointRow | undefined
  hold: Hold | undefined
  /** What the server's own role may do to what is recorded: nothing where the rights are separated. */
  excessiveRights: string[]
}

export async function auditStatus({ db }: Pick<Context, 'db'>): Promise<AuditStatus> {
  return {
    begins: ((await chainBegin(db))?.chainNo ?? 0) + 1,
    head: await chainHead(db),
    unsealed: await countUnsealed(db),
    checkpoint: await latestCheckpoint(db),
    hold: await latestHold(db),
    excessiveRights: await excessiveRights(db),
  }
}

/** Puts the log on hold, so that nothing is dropped, or ends that. The same again changes nothing. */
export async function setHold(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  command: { held: boolean; reason: string; actor: string; requestId: string },
): Promise<Hold> {
  const { held, reason, actor, requestId } = command
  const at = clock.now()
  return await inTransaction(db, async (tx) => {
    await lockHold(tx)
    const before = await latestHold(tx)
    if (before ? before.held === held && before.reason === reason : !held) {
      return before ?? { at, actor, held, reason }
    }
    const hold = { at, actor, held, reason }
    await insertHold(tx, hold)
    await recordAudit(tx, {
      at,
      actor,
      action: held ? 'audit-hold.set' : 'audit-hold.lift',
      subject: 'audit',
      facts: { from: before?.held ?? false, to: held, reason },
      requestId,
    })
    return hold
  })
}

/** Said at every start: with one role for all, who has the server's password can change what is recorded. */
export async function warnOfRights({ db, log }: Pick<Context, 'db' | 'log'>): Promise<void> {
  const rights = await excessiveRights(db)
  if (rights.length === 0) return
  log.warn(
    { rights },
    'the role of the server may change the audit log: give it one of its own (docs/audit.md, rights)',
  )
}

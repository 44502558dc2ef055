import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { actOnRollout } from './service.ts'
import { nextRolloutState } from './state.ts'
import { dueToStart, moveRollout, type Rollout } from './store.ts'

const batchSize = 50

/**
 * Starts the approved rollouts whose time has come, one after the other and each once, however many processes do this. One
 * that cannot be started (people are missing, a release is not published) goes back to draft with the reason, so that
 * somebody looks. Says whether there may be more.
 */
export async function startDue(
  ctx: Pick<Context, 'db' | 'clock' | 'config' | 'bus' | 'metrics' | 'log'>,
): Promise<boolean> {
  const rollouts = await dueToStart(ctx.db, ctx.clock.now(), batchSize)
  for (const rollout of rollouts) await start(ctx, rollout)
  return rollouts.length === batchSize
}

async function start(ctx: Parameters<typeof startDue>[0], rollout: Rollout): Promise<void> {
  const { id: rolloutId } = rollout
  try {
    await actOnRollout(ctx, { rolloutId, action: 'start', actor: 'system', requestId: 'schedule' })
    ctx.log.info({ rolloutId, action: 'start' }, 'rollout moved by itself')
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    // Another process, or a person, was quicker.
    if (error.code === 'conflict' || error.code === 'illegal-transition') return
    await miss(ctx, rollout, error.message)
  }
}

async function miss(
  { db, clock, log }: Pick<Context, 'db' | 'clock' | 'log'>,
  before: Rollout,
  why: string,
): Promise<void> {
  const now = clock.now()
  const state = nextRolloutState(before.state, 'miss')
  const reason = `It was not started at ${before.start_at?.toISOString()}: ${why}`
  try {
    await inTransaction(db, async (tx) => {
      await moveRollout(tx, before, { state, reason }, now)
      const facts = { from: before.state, to: state, reason }
      const what = { action: 'rollout.miss', subject: before.id, facts }
      await recordAudit(tx, { at: now, actor: 'system', ...what })
    })
    log.warn({ rolloutId: before.id, reason }, 'rollout moved by itself')
  } catch (error) {
    if (!(error instanceof DomainError && error.code === 'conflict')) throw error
  }
}

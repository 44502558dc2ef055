import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { nextRolloutState } from './state.ts'
import { moveRollout, ofWithdrawnReleases, type Rollout } from './store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log'>

const batchSize = 50
const reason = 'The release was withdrawn'

/**
 * Cancels a batch of rollouts whose release was withdrawn, drafts included: a release never comes back, so none of them
 * could go on. What their devices have open is ended by `endWithdrawn` (deployments/end.ts). By compare-and-set, so any
 * number of processes may do this at once. Says whether there may be more.
 */
export async function stopWithdrawn(ctx: Deps): Promise<boolean> {
  const rollouts = await ofWithdrawnReleases(ctx.db, batchSize)
  for (const rollout of rollouts) await stop(ctx, rollout)
  return rollouts.length === batchSize
}

async function stop({ db, clock, log }: Deps, before: Rollout): Promise<void> {
  const now = clock.now()
  const state = nextRolloutState(before.state, 'cancel')
  try {
    await inTransaction(db, async (tx) => {
      await moveRollout(tx, before, { state, reason, ended_at: now }, now)
      await recordAudit(tx, {
        at: now,
        actor: 'system',
        action: 'rollout.cancel',
        subject: before.id,
        facts: { from: before.state, to: state, reason, releaseId: before.release_id },
      })
    })
    log.warn({ rolloutId: before.id, reason }, 'rollout moved by itself')
  } catch (error) {
    // Another process, or a person, was quicker: the next pass looks again.
    if (!(error instanceof DomainError && error.code === 'conflict')) throw error
  }
}

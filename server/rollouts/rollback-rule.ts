import { recordAudit } from '../audit/audit.ts'
import type { Tx } from '../db/client.ts'
import { newId } from '../ids.ts'
import { draftRollback } from './derived.ts'
import { findOpenChild } from './rollback-store.ts'
import { nextRolloutState } from './state.ts'
import { companionsOf, moveRollout, openPhase, type Rollout } from './store.ts'

/**
 * What an abort rule with `rollback` does, in the transaction that ends the rollout: its devices go back to what they had, at
 * once, since the rule was approved with the rollout. Gives the id of the rollout that does it; undefined where none can.
 */
export async function takeBack(tx: Tx, parent: Rollout, now: Date): Promise<string | undefined> {
  if (parent.kind !== 'update' && parent.kind !== 'retry') return undefined
  const along = await companionsOf(tx, [parent.id])
  if (along.length > 0 || (await findOpenChild(tx, parent.id, 'rollback'))) return undefined
  const by = { actor: 'system', least: 0 }
  const draft = await draftRollback(tx, { id: newId(now), parent, now, ...by })
  if (!draft) return undefined
  const state = nextRolloutState(draft.state, 'start')
  await moveRollout(tx, draft, { state, phase_no: 1, started_at: now }, now)
  await openPhase(tx, draft.id, 1, now)
  const facts = { from: draft.state, to: state, parentId: parent.id }
  const what = { action: 'rollout.start', subject: draft.id, facts }
  await recordAudit(tx, { at: now, actor: 'system', ...what })
  return draft.id
}

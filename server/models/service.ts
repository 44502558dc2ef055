import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { draftDelegations } from '../metadata/drafts.ts'
import { getModel, insertModel, type Model } from './store.ts'

export interface CreateModel {
  id: string
  name: string
  hardwareIds: string[]
  actor: string
  requestId?: string
}

/**
 * Makes a model, and drafts the image `targets` that delegate its firmware to the release keys (updates.md 2.4).
 * The same id again gives the same model. Throws DomainError `conflict` when the name is taken.
 */
export async function createModel(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { id, name, hardwareIds, actor, requestId }: CreateModel,
): Promise<Model> {
  const now = clock.now()
  const by = { actor, ...(requestId ? { requestId } : {}) }
  return await inTransaction(db, async (tx) => {
    const isNew = await insertModel(tx, { id, name, hardware_ids: hardwareIds, created_at: now })
    const model = await getModel(tx, name)
    if (model.id !== id) {
      throw new DomainError('conflict', 'There is a model of this name already', {
        modelId: model.id,
      })
    }
    if (isNew) {
      await recordAudit(tx, {
        at: now,
        action: 'model.create',
        subject: id,
        facts: { name, hardwareIds },
        ...by,
      })
      await draftDelegations(tx, { now, ...by })
    }
    return model
  })
}

import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { draftDelegations } from '../metadata/drafts.ts'
import { lockVersion, type Versions } from '../version.ts'
import { getModel, insertModel, type Model, setPolicy } from './store.ts'
import { ModelPolicyBody, type ModelPolicy } from './wire.ts'

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

export interface SetModelPolicy {
  model: string
  policy: ModelPolicy
  /** Of the model. */
  ifMatch?: Versions | undefined
  actor: string
  requestId: string
}

/**
 * The rules by which owners of a model's devices choose about updates (updates.md 7.2); all of them at once. Offers made
 * before keep their deadlines, which are counted on the device.
 *
 * @throws DomainError `conflict` when updates shall not install themselves and nothing says why, or somebody was quicker
 */
export async function setModelPolicy(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { model: key, policy, ifMatch, actor, requestId }: SetModelPolicy,
): Promise<Model> {
  requireJustified(policy)
  return await inTransaction(db, async (tx) => {
    const { id } = await getModel(tx, key)
    await lockVersion(tx, { table: 'model', id }, ifMatch)
    const before = await getModel(tx, id)
    const changed = await setPolicy(tx, {
      id: before.id,
      before: before.policy,
      policy: JSON.stringify(policy),
    })
    if (!changed)
      throw new DomainError('conflict', 'The policy changed meanwhile; look at it again')
    const facts = { model: before.name, before: before.policy, after: policy }
    const entry = { at: clock.now(), actor, action: 'model.policy', subject: before.id, facts }
    await recordAudit(tx, { ...entry, requestId })
    return await getModel(tx, before.id)
  })
}

/** Security updates that install themselves are the rule (CRA annex I, part I, 2(c)); an exception is explained. */
function requireJustified({ autoUpdateApplicability, autoSecurity, justification }: ModelPolicy) {
  if (justification !== undefined) return
  if (autoUpdateApplicability === 'applicable' && autoSecurity !== false) return
  throw new DomainError(
    'conflict',
    'A model whose security updates do not install themselves needs a justification',
    { at: 'justification' },
  )
}

/** What cannot be read counts as the default, in which owners have most to say. */
export function effectivePolicy(stored: unknown): ModelPolicy & { autoSecurity: boolean } {
  const parsed = ModelPolicyBody.safeParse(stored)
  const policy = parsed.success ? parsed.data : ModelPolicyBody.parse({})
  const autoSecurity = policy.autoSecurity ?? policy.autoUpdateApplicability === 'applicable'
  return { ...policy, autoSecurity }
}

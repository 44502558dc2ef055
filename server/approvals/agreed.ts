import type { Tx } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import type { ApprovalKind } from '../protocol/approvals.ts'
import { findPolicy } from './store.ts'

/**
 * Asked by a service within its transaction, before it changes anything: have enough others agreed to this, done to a thing that is so? The
 * state is part of what was agreed to. Takes the consent, which is good for one time. Facts for the audit row.
 */
export type Consent = (tx: Tx, state: unknown) => Promise<ConsentFacts>
export interface ConsentFacts {
  approvalId?: string
  approvedBy?: string[]
}

/** For what the server does by itself, as its configuration says. */
export const noConsent: Consent = async () => ({})

/**
 * For a way to do something that nobody is asked about: it is open only while nobody has to be asked.
 *
 * @throws DomainError `approval-needed`
 */
export function onlyUnasked(kind: ApprovalKind, instead: string): Consent {
  return async (tx) => {
    const policy = await findPolicy(tx, kind)
    if (!policy || policy.needed === 0) return {}
    throw new DomainError('approval-needed', `Others have to agree to this: ${instead}`, {
      needed: policy.needed,
    })
  }
}

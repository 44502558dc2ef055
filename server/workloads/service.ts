import { mustHoldGiven, setGrants } from '../access/grant-service.ts'
import type { Consent } from '../approvals/agreed.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import type { StoredGrant } from '../db/grants.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Actor } from '../http/access.ts'
import { makerOf } from '../operators/voice.ts'
import { isTrustworthy } from '../sign-in-config.ts'
import {
  countWorkloads,
  getWorkload,
  insertWorkload,
  markRemoved,
  type Workload,
  workloadsAmong,
} from './store.ts'

const maxWorkloads = 500
const maxStars = 5

export interface CreateWorkload {
  id: string
  name: string
  issuer: string
  audience: string
  subject: string
  claims: Readonly<Record<string, string>>
  role: string
  groupIds: readonly string[]
  by: Actor
  /** Of others, by policy. */
  consent?: Consent
}

type Deps = Pick<Context, 'db' | 'clock'>

/**
 * From now on tokens of the issuer that fit may call, with this role. The same id again answers the same and records nothing twice.
 *
 * @throws DomainError `invalid-request` for an issuer that cannot be asked safely, or a subject that fits anybody; `conflict` for a name that is
 * taken; `not-allowed` for a role that the caller does not have
 */
export async function createWorkload(
  { db, clock }: Deps,
  command: CreateWorkload,
): Promise<Workload> {
  const { id, name, issuer, audience, subject, claims, role, groupIds, by, consent } = command
  const now = clock.now()
  if (!isTrustworthy(issuer)) {
    throw invalid('issuer', 'must be https, or http on this machine, without a user and a fragment')
  }
  if (!/[^*:/.]/.test(subject)) {
    throw invalid('subject', 'would fit everybody who has an account there: name the project')
  }
  if (subject.split('*').length > maxStars + 1) {
    throw invalid('subject', `has more than ${maxStars} stars`)
  }
  return await inTransaction(db, async (tx) => {
    await mustHoldGiven(tx, by, [{ role, groupIds }])
    const made = { created_by: makerOf(by), created_at: now }
    const row = { id, name, issuer, audience, subject, role, ...made }
    if (await insertWorkload(tx, { ...row, claims: JSON.stringify(claims) })) {
      if ((await countWorkloads(tx)) > maxWorkloads) {
        throw new DomainError('conflict', `There are ${maxWorkloads} already: remove some`)
      }
      await recordAudit(tx, {
        at: now,
        actor: by.id,
        action: 'workload.create',
        subject: id,
        facts: { name, issuer, audience, subject, claims, role, groupIds },
        requestId: by.requestId,
      })
      const given = { actor: by.id, at: now, requestId: by.requestId, consent }
      await setGrants(tx, `workload:${id}`, [{ role, groupIds }], given)
    }
    return await getWorkload(tx, id).catch(() => {
      throw new DomainError('conflict', 'This name is taken', { at: 'name' })
    })
  })
}

/** From the next request on its tokens open nothing. */
export async function removeWorkload(
  { db, clock }: Deps,
  { id, by }: { id: string; by: Actor },
): Promise<void> {
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    const { name, issuer, subject } = await getWorkload(tx, id)
    if (!(await markRemoved(tx, id, now))) return
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: 'workload.remove',
      subject: id,
      facts: { name, issuer, subject },
      requestId: by.requestId,
    })
  })
}

function invalid(at: string, message: string): DomainError {
  return new DomainError('invalid-request', `${at}: ${message}`, { at })
}

/** Of these those that are in use, with what they may do now. One statement. */
export async function workloadsInUse(
  db: Db,
  ids: readonly string[],
): Promise<{ id: string; grants: StoredGrant[] }[]> {
  return await workloadsAmong(db, ids)
}

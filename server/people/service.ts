import { mustHold } from '../access/escalation.ts'
import {
  assertAdministratorLeft,
  lockAccess,
  mustHoldGiven,
  setGrants,
} from '../access/grant-service.ts'
import { grantsOf } from '../access/grants.ts'
import type { Consent, ConsentFacts } from '../approvals/agreed.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Actor } from '../http/access.ts'
import { endSessions } from './sessions.ts'
import {
  changePersonRow,
  findLocalPerson,
  getPerson,
  insertPerson,
  lockPerson,
  movePerson,
  type Person,
} from './store.ts'

type Deps = Pick<Context, 'db' | 'clock'>

export interface CreatePerson {
  id: string
  name: string
  email: string
  grants: readonly { role: string; groupIds: readonly string[] }[]
  by: Actor
  /** Of others, by policy. */
  consent?: Consent
}

/**
 * Makes a local account, which cannot sign in before it was invited. The same id again answers the same person and records nothing twice.
 *
 * @throws DomainError `conflict` for an address that another account has; `not-allowed` for rights that its maker does not have
 */
export async function createPerson({ db, clock }: Deps, command: CreatePerson): Promise<Person> {
  const { id, name, email, grants, by, consent } = command
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    await mustHoldGiven(tx, by, grants)
    await mustBeFree(tx, email, id)
    const createdBy = by.id
    if (await insertPerson(tx, { id, name, email, createdBy, createdAt: now })) {
      await recordAudit(tx, {
        at: now,
        actor: by.id,
        action: 'person.create',
        subject: id,
        facts: { name, email, grants },
        requestId: by.requestId,
      })
      const given = { actor: by.id, at: now, requestId: by.requestId, consent }
      if (grants.length > 0) await setGrants(tx, `user:${id}`, grants, given)
    }
    return await getPerson(tx, id)
  })
}

/**
 * Another name or address of a local account.
 *
 * @throws DomainError `conflict`: the provider says what somebody who signs in there is called
 */
export async function changePerson(
  { db, clock }: Deps,
  command: { id: string; name?: string | undefined; email?: string | undefined; by: Actor },
): Promise<Person> {
  const { id, by } = command
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const before = await lockPerson(tx, id)
    if (before.oidc_issuer !== null) {
      throw new DomainError('conflict', 'The identity provider says what this person is called', {
        personId: id,
      })
    }
    const { name = before.name, email = before.email } = command
    if (name === before.name && email === before.email) return before
    if (email !== null) await mustBeFree(tx, email, id)
    await changePersonRow(tx, id, { name, email })
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: 'person.change',
      subject: id,
      facts: { from: { name: before.name, email: before.email }, to: { name, email } },
      requestId: by.requestId,
    })
    return { ...before, name, email }
  })
}

/**
 * Disables somebody, which ends all sessions and stops the keys and certificates of which this person is the owner; or lets somebody
 * back, which gives them their rights again. Nobody is removed: the audit log speaks of them.
 *
 * @throws DomainError `conflict` for the last administrator; `not-allowed` to let somebody back who may do more than the caller
 */
export async function movePersonTo(
  { db, clock }: Deps,
  command: {
    id: string
    action: 'disable' | 'enable'
    reason: string
    by: Actor
    /** Of others, by policy, to let somebody back. */
    consent: Consent
  },
): Promise<Person> {
  const { id, action, reason, by, consent } = command
  const state = action === 'disable' ? ('disabled' as const) : ('active' as const)
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    await lockAccess(tx)
    await lockPerson(tx, id)
    if (await movePerson(tx, id, state, now)) {
      const ended =
        state === 'disabled'
          ? await endSessions(tx, { personId: id }, { reason: 'person-disabled', now })
          : []
      if (state === 'disabled') await assertAdministratorLeft(tx, now)
      const agreed = state === 'active' ? await givenBack(tx, { id, by, consent }) : {}
      await recordAudit(tx, {
        at: now,
        actor: by.id,
        action: `person.${action}`,
        subject: id,
        facts: { reason, sessionsEnded: ended.length, ...agreed },
        requestId: by.requestId,
      })
    }
    return await getPerson(tx, id)
  })
}

/** Nobody gives back what he has not himself. */
async function givenBack(
  tx: Tx,
  { id, by, consent }: { id: string; by: Actor; consent: Consent },
): Promise<ConsentFacts> {
  const grants = await grantsOf(tx, `user:${id}`)
  mustHold(by, grants)
  return await consent(
    tx,
    grants.map(({ role, permissions, groups }) => ({
      role,
      permissions: [...permissions],
      groups,
    })),
  )
}

/** Ends one session of somebody, or all of them; what has ended stays so. Returns how many ended now. */
export async function endSessionsOf(
  { db, clock }: Deps,
  command: {
    personId: string
    sessionId?: string | undefined
    exceptId?: string | undefined
    by: Actor
  },
): Promise<number> {
  const { personId, sessionId, exceptId, by } = command
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    await getPerson(tx, personId)
    const reason = by.id === `user:${personId}` ? 'by-person' : 'by-administrator'
    const which = { personId, id: sessionId, exceptId }
    const ended = await endSessions(tx, which, { reason, now })
    if (ended.length > 0) {
      await recordAudit(tx, {
        at: now,
        actor: by.id,
        action: 'session.end',
        subject: personId,
        facts: { reason, sessions: ended.map(({ id }) => id) },
        requestId: by.requestId,
      })
    }
    return ended.length
  })
}

/**
 * Who is to own a key or a certificate has to be there.
 *
 * @throws DomainError `not-found`; `conflict` for somebody who is disabled
 */
export async function mustBeActive(tx: Tx, id: string): Promise<void> {
  const { state } = await lockPerson(tx, id)
  if (state === 'active') return
  throw new DomainError('conflict', 'This person is disabled', { personId: id })
}

async function mustBeFree(tx: Tx, email: string, id: string): Promise<void> {
  const other = await findLocalPerson(tx, email)
  if (other === undefined || other.id === id) return
  throw new DomainError(
    'conflict',
    'Another account has this address: enable it, or take another',
    {
      at: 'email',
      personId: other.id,
    },
  )
}

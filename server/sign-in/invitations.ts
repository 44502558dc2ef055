import { hkdfSync } from 'node:crypto'

import { mustHold } from '../access/escalation.ts'
import { grantsOf } from '../access/grants.ts'
import type { Consent } from '../approvals/agreed.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { recordEvents } from '../events/record.ts'
import type { Actor } from '../http/access.ts'
import { endSessions } from '../people/sessions.ts'
import {
  getAccount,
  type LocalAccount,
  lockAccount,
  passkeysOf,
  removeCredentials,
} from './credential-store.ts'
import {
  findInvitation,
  getInvitation,
  insertInvitation,
  type Invitation,
} from './invitation-store.ts'
import { forgetFailures } from './limit-store.ts'
import { accountSubject } from './limits.ts'
import { dropTicketsOf } from './ticket-store.ts'
import { hashToken } from './tickets.ts'

export const invitationMs = 72 * 3_600_000

type Deps = Pick<Context, 'db' | 'clock' | 'kek' | 'config'>

/**
 * A link by which somebody takes a local account: once, within 72 hours. For an account that has been taken this is the reset: its password, its factors, its
 * sessions and the invitation before are gone at once, since whoever asks for it has lost them, or somebody else has them.
 *
 * The same id again answers the same link and does nothing twice.
 *
 * @throws DomainError `not-found`, `conflict` for people of the provider and disabled ones, `not-allowed` for the account of somebody who may more
 */
export async function invite(
  ctx: Deps,
  command: { id: string; personId: string; by: Actor; consent: Consent },
): Promise<{ invitation: Invitation; token: string }> {
  const { db, clock, kek } = ctx
  const { id, personId, by, consent } = command
  const now = clock.now()
  const token = tokenOf(kek, id)
  // Whoever holds the link is this person: nobody makes one for somebody who may more.
  mustHold(by, await grantsOf(db, `user:${personId}`))
  const invitation = await inTransaction(db, async (tx) => {
    const account = mustBeLocal(await lockAccount(tx, personId), personId)
    const isNew = await insertInvitation(tx, {
      id,
      person_id: personId,
      token_hash: hashToken(token),
      created_by: by.id,
      created_at: now,
      expires_at: new Date(now.getTime() + invitationMs),
    })
    const stored = await getInvitation(tx, id)
    if (!stored) throw new Error('An invitation that was just stored is not there')
    if (!isNew) return stored
    const isReset = account.hash !== null || (await passkeysOf(tx, personId)).length > 0
    // Whoever holds the link could speak with two voices.
    const agreed = isReset ? await consent(tx, { personId }) : {}
    await removeCredentials(tx, personId)
    await dropTicketsOf(tx, personId)
    await forgetFailures(tx, accountSubject(account.email))
    const reason = 'credentials-changed' as const
    const ended = await endSessions(tx, { personId }, { reason, now })
    const facts = { name: account.name, isReset, sessionsEnded: ended.length, ...agreed }
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: 'person.invite',
      subject: personId,
      facts: { ...facts, invitationId: id, expiresAt: stored.expires_at.toISOString() },
      requestId: by.requestId,
    })
    await recordEvents(tx, now, [
      {
        source: 'server',
        kind: isReset ? 'person-credentials-reset' : 'person-invited',
        severity: isReset ? 'warning' : 'info',
        facts: { ...facts, personId, by: by.id },
      },
    ])
    return stored
  })
  if (!invitation.token_hash.equals(hashToken(token))) {
    throw new DomainError('conflict', 'This link cannot be shown again: invite anew', {
      invitationId: id,
    })
  }
  return { invitation, token }
}

/** Derived from the id, so that a repeated call shows the link again although it is stored nowhere (RFC 5869). */
function tokenOf(kek: Buffer, id: string): string {
  return Buffer.from(hkdfSync('sha256', kek, '', `fleetseal invitation ${id}`, 32)).toString(
    'base64url',
  )
}

/** Behind `#`: a browser sends it to nobody, and no server writes it into a log. */
export function invitationUrl({ publicUrl }: Pick<Context['config'], 'publicUrl'>, token: string) {
  return `${publicUrl}/#/invitation/${token}`
}

export function mustBeLocal(account: LocalAccount | undefined, personId: string): LocalAccount {
  if (!account) {
    throw new DomainError(
      'conflict',
      'This person has no local account: the identity provider keeps the password and the factors',
      { personId },
    )
  }
  if (account.state !== 'active') {
    throw new DomainError('conflict', 'This account is disabled: enable it first', { personId })
  }
  return account
}

/**
 * Whom an invitation is for.
 *
 * @throws DomainError `not-authenticated` when it is unknown, used, replaced or over
 */
export async function lookAtInvitation(
  { db, clock }: Pick<Deps, 'db' | 'clock'>,
  token: string,
): Promise<{ invitation: Invitation; account: LocalAccount }> {
  const invitation = await findInvitation(db, hashToken(token), clock.now())
  const account = invitation && (await getAccount(db, invitation.person_id))
  if (!invitation || account?.state !== 'active') {
    throw new DomainError(
      'not-authenticated',
      'This invitation was used already, replaced by another, or is over: ask for a new one',
    )
  }
  return { invitation, account }
}

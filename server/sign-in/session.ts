import type { Request } from 'express'

import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { recordEvents } from '../events/record.ts'
import type { Actor } from '../http/access.ts'
import { createSession } from '../people/sessions.ts'
import type { SessionMethod } from '../people/state.ts'
import type { LocalAccount } from './credential-store.ts'
import { forgetFailures, giveBack } from './limit-store.ts'
import { accountSubject, insideSubject, networkSubject } from './limits.ts'
import type { FactorKind } from './wire.ts'

/** Where a request came from, as it is written down. */
export interface Origin {
  address: string
  userAgent: string | undefined
  requestId: string
}

export function cameFrom(req: Request): Origin {
  return {
    address: req.socket.remoteAddress ?? 'unknown',
    userAgent: req.get('user-agent'),
    requestId: String(req.res?.locals['requestId'] ?? ''),
  }
}

/** Whose session it is. */
export interface Signed {
  sessionId: string
  personId: string
}

/** @throws DomainError `not-ready` for what has no person who could sign in */
export function signed({ session }: Actor): Signed {
  if (session) return { sessionId: session.id, personId: session.personId }
  throw new DomainError(
    'not-ready',
    'This is for people who signed in: a key, a workload or a certificate has no password and no factors',
  )
}

export interface SignedIn {
  account: LocalAccount
  sessionId: string
  /** For the cookie. */
  secret: string
}

/**
 * Begins the session of somebody who showed all that it takes, and forgets what they mistyped on the way, in the transaction that used the proof up. The
 * caller has made sure that the account is active.
 */
export async function beginSession(
  tx: Tx,
  config: Context['config'],
  given: {
    account: LocalAccount
    method: SessionMethod
    factor: FactorKind
    from: Origin
    now: Date
    counted: boolean
  },
): Promise<SignedIn> {
  const { account, method, factor, from, now } = given
  const { id, secret } = await createSession(tx, config, {
    personId: account.id,
    method,
    address: from.address,
    userAgent: from.userAgent,
    now,
  })
  await forgetFailures(tx, accountSubject(account.email))
  await forgetFailures(tx, insideSubject(account.id))
  if (given.counted) await giveBack(tx, [networkSubject(from.address)])
  const facts = { method, factor, address: from.address, name: account.name }
  await recordAudit(tx, {
    at: now,
    actor: `user:${account.id}`,
    action: 'person.sign-in',
    subject: account.id,
    facts: { ...facts, sessionId: id },
    requestId: from.requestId,
  })
  await recordEvents(tx, now, [
    {
      source: 'server',
      kind: 'person-signed-in',
      // Somebody who lost a factor, or somebody who found the sheet.
      severity: factor === 'recovery-code' ? 'warning' : 'info',
      facts: { ...facts, personId: account.id },
    },
  ])
  return { account, sessionId: id, secret }
}

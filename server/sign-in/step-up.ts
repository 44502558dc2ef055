import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { stepUpMs } from '../http/step-up.ts'
import { renewSession } from '../people/sessions.ts'
import { getAccount, lockAccount } from './credential-store.ts'
import { factorsOf, judgeFactor, kindsOf } from './factors.ts'
import { giveBack } from './limit-store.ts'
import { countAttempt, insideSubject, namesOf } from './limits.ts'
import { newChallenge, requestOptions } from './passkeys.ts'
import type { Origin, Signed } from './session.ts'
import { noteLocked, noteRefusal, type SignInDeps } from './sign-in.ts'
import { tryTicket, useTicket } from './ticket-store.ts'
import { giveTicket, hashToken, maxTries, ticketOver } from './tickets.ts'
import type { FactorKind, ShownFactor } from './wire.ts'

/** What the person of a session can show, with the question for a passkey. Without kinds: the provider has to be asked. */
export async function stepUpOptions(ctx: SignInDeps, { sessionId, personId }: Signed) {
  const { db, clock, config } = ctx
  const account = await getAccount(db, personId)
  if (!account) return { kinds: [] satisfies FactorKind[], passkey: undefined }
  const factors = await factorsOf(db, personId)
  const kinds = kindsOf(config, factors)
  if (!kinds.includes('passkey')) return { kinds, passkey: undefined }
  const challenge = newChallenge()
  const about = {
    kind: 'step-up' as const,
    person_id: personId,
    session_id: sessionId,
    challenge,
  }
  const made = await inTransaction(db, async (tx) => await giveTicket(tx, clock.now(), about))
  const options = await requestOptions(config, { challenge, allowed: factors.passkeys })
  return { kinds, passkey: { ...made, options } }
}

/**
 * Shows a second factor again. The session goes on under another cookie, so that a copied one is worth nothing from here on.
 *
 * @throws DomainError `not-authenticated` for a factor that does not fit, `rate-limited`
 */
export async function stepUp(
  ctx: SignInDeps,
  given: Signed & { shown: ShownFactor; ticket: string | undefined; origin: () => string },
  from: Origin,
): Promise<{ secret: string; stepUpUntil: Date }> {
  const { db, clock } = ctx
  const { personId, sessionId, shown } = given
  const account = await getAccount(db, personId)
  if (!account) {
    throw new DomainError('not-allowed', 'Sign in at the identity provider again for this')
  }
  // Nobody guesses a passkey.
  const subjects = shown.kind === 'passkey' ? {} : { account: insideSubject(personId) }
  const challenge = await challengeOf(ctx, given)
  await countAttempt(ctx, subjects).catch((error: unknown) => {
    noteLocked(ctx, error, from)
    throw error
  })
  const verdict = await judgeFactor(ctx, shown, { personId, challenge, origin: given.origin })
  const { proof } = verdict
  if (!proof) {
    noteRefusal(ctx, { reason: verdict.reason, from, account })
    throw wrongFactor()
  }
  const now = clock.now()
  const renewed = await inTransaction(db, async (tx) => {
    if ((await lockAccount(tx, personId))?.state !== 'active') return undefined
    if (!(await proof.use(tx, now))) return undefined
    await giveBack(tx, namesOf(subjects))
    const next = await renewSession(tx, sessionId, { now, personId })
    if (!next) return undefined
    await recordAudit(tx, {
      at: now,
      actor: `user:${personId}`,
      action: 'session.step-up',
      subject: sessionId,
      facts: { factor: proof.kind, address: from.address },
      requestId: from.requestId,
    })
    return next
  })
  if (!renewed) {
    noteRefusal(ctx, { reason: 'used-before', from, account })
    throw wrongFactor()
  }
  return { ...renewed, stepUpUntil: new Date(now.getTime() + stepUpMs) }
}

/** A question for a passkey is answered once, in the session that it was asked in. */
async function challengeOf(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { ticket, sessionId }: { ticket: string | undefined; sessionId: string },
): Promise<Buffer | null> {
  if (ticket === undefined) return null
  const hash = hashToken(ticket)
  const row = await inTransaction(db, async (tx) => {
    const kinds = ['step-up'] as const
    const found = await tryTicket(tx, hash, { kinds, now: clock.now(), maxTries })
    if (found?.session_id !== sessionId) return undefined
    return (await useTicket(tx, hash)) ? found : undefined
  })
  if (!row) throw ticketOver()
  return row.challenge
}

function wrongFactor(): DomainError {
  // Not 401: the session is fine, and a page must not take this for its end.
  return new DomainError(
    'not-allowed',
    'This does not fit, or was used before: try the next code, or another factor',
  )
}

import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { recordEvents } from '../events/record.ts'
import { endSessions } from '../people/sessions.ts'
import {
  getAccount,
  type LocalAccount,
  lockAccount,
  removePasskey,
  removeTotp,
  replaceRecoveryCodes,
  setPassword,
} from './credential-store.ts'
import { factorsOf, isEnough } from './factors.ts'
import { countAttempt, insideSubject, uncount } from './limits.ts'
import { creationOptions, hasPasskeys, newChallenge } from './passkeys.ts'
import { hashPassword, isPassword } from './password-hash.ts'
import { assertGoodPassword } from './password-rules.ts'
import { hashRecoveryCode, newRecoveryCodes } from './recovery-codes.ts'
import type { Origin, Signed } from './session.ts'
import { offerTotp, readNewFactor, storeFactor } from './setup.ts'
import { noteRefusal, type SignInDeps } from './sign-in.ts'
import { dropTicketsOf, tryTicket, useTicket } from './ticket-store.ts'
import { giveTicket, hashToken, maxTries, ticketOver } from './tickets.ts'
import type { SetupBody } from './wire.ts'

export const maxPasskeys = 20

/** @throws DomainError `not-allowed` for people of the provider */
export async function ownAccount(
  { db }: Pick<Context, 'db'>,
  personId: string,
): Promise<LocalAccount> {
  return mustBeOwn(await getAccount(db, personId))
}

function mustBeOwn(account: LocalAccount | undefined): LocalAccount {
  if (account?.state === 'active') return account
  const message =
    'Your password and your factors are kept by the identity provider: change them there'
  throw new DomainError('not-allowed', message)
}

/**
 * Another password. All other sessions end: whoever had the old one may sit in one of them.
 *
 * @throws DomainError `invalid-request` when the current one is wrong or the new one too easy, `rate-limited`, `busy`
 */
export async function changePassword(
  ctx: SignInDeps,
  given: Signed & { current: string | undefined; password: string },
  from: Origin,
): Promise<void> {
  const { personId, sessionId } = given
  const account = await ownAccount(ctx, personId)
  await showCurrent(ctx, { account, current: given.current }, from)
  assertGoodPassword(given.password, account)
  const hash = await hashPassword(given.password)
  const now = ctx.clock.now()
  await inTransaction(ctx.db, async (tx) => {
    mustBeOwn(await lockAccount(tx, personId))
    await setPassword(tx, personId, { hash, now })
    // Whoever showed the old one elsewhere begins again.
    await dropTicketsOf(tx, personId)
    const reason = 'credentials-changed' as const
    const ended = await endSessions(tx, { personId, exceptId: sessionId }, { reason, now })
    const facts = { name: account.name, sessionsEnded: ended.length }
    await note(tx, { account, from, now, action: 'person.change-password', facts })
  })
}

async function showCurrent(
  ctx: SignInDeps,
  { account, current }: { account: LocalAccount; current: string | undefined },
  from: Origin,
): Promise<void> {
  if (account.hash === null) return
  const subjects = { account: insideSubject(account.id) }
  await countAttempt(ctx, subjects)
  if (current === undefined || !(await isPassword(current, account.hash))) {
    noteRefusal(ctx, { reason: 'wrong-password', from, account })
    const message = 'The current password is wrong'
    throw new DomainError('invalid-request', message, { issues: [{ at: 'current', message }] })
  }
  await uncount(ctx, subjects)
}

/** @throws DomainError `not-allowed` */
export async function beginOwnTotp(ctx: SignInDeps, { personId, sessionId }: Signed) {
  const account = await ownAccount(ctx, personId)
  const made: { ticket?: string; expiresAt?: Date } = {}
  const offer = await offerTotp(ctx, account, async (tx, sealed) => {
    const about = {
      kind: 'totp-setup' as const,
      person_id: personId,
      session_id: sessionId,
      sealed_secret: sealed,
    }
    Object.assign(made, await giveTicket(tx, ctx.clock.now(), about))
  })
  const { ticket, expiresAt } = made
  if (ticket === undefined || expiresAt === undefined) throw new Error('No ticket was made')
  return { ...offer, ticket, expiresAt }
}

/** @throws DomainError `not-allowed`, `conflict` with 20 passkeys, `invalid-request` when this server has none */
export async function beginOwnPasskey(ctx: SignInDeps, { personId, sessionId }: Signed) {
  const { db, clock, config } = ctx
  const account = await ownAccount(ctx, personId)
  if (!hasPasskeys(config)) {
    throw new DomainError('invalid-request', 'This server has no host name, and so no passkeys')
  }
  const { passkeys } = await factorsOf(db, personId)
  assertRoom(passkeys.length)
  const challenge = newChallenge()
  const about = {
    kind: 'passkey-setup' as const,
    person_id: personId,
    session_id: sessionId,
    challenge,
  }
  const made = await inTransaction(db, async (tx) => await giveTicket(tx, clock.now(), about))
  const options = await creationOptions(config, { challenge, person: account, existing: passkeys })
  return { ...made, options }
}

function assertRoom(count: number): void {
  if (count < maxPasskeys) return
  throw new DomainError('conflict', `An account has ${maxPasskeys} passkeys at most: remove one`)
}

/**
 * Adds what was begun, once it has shown that it works. An app takes the place of the one before.
 *
 * @throws DomainError `not-authenticated` when it took too long, `invalid-request`, `conflict`
 */
export async function addOwnFactor(
  ctx: SignInDeps,
  given: Signed & { body: SetupBody; origin: () => string },
  from: Origin,
): Promise<void> {
  const { db, clock } = ctx
  const { personId, sessionId, body } = given
  const hash = hashToken(body.ticket)
  const kinds = [body.kind === 'totp' ? ('totp-setup' as const) : ('passkey-setup' as const)]
  const now = clock.now()
  const ticket = await inTransaction(
    db,
    async (tx) => await tryTicket(tx, hash, { kinds, now, maxTries }),
  )
  if (ticket?.session_id !== sessionId) throw ticketGone()
  const factor = await readNewFactor(ctx, { ...given, ticket, personId })
  await inTransaction(db, async (tx) => {
    const account = mustBeOwn(await lockAccount(tx, personId))
    if (!(await useTicket(tx, hash))) throw ticketGone()
    const { passkeys } = await factorsOf(tx, personId)
    if (factor.kind === 'passkey') assertRoom(passkeys.length)
    await storeFactor(tx, factor)
    const facts = {
      factor: factor.kind,
      ...(factor.kind === 'passkey'
        ? { passkeyId: factor.passkey.id, passkey: factor.passkey.name }
        : {}),
    }
    await note(tx, { account, from, now, action: 'person.add-factor', facts })
  })
}

/** Not 401: the session is fine. */
function ticketGone(): DomainError {
  return new DomainError('conflict', ticketOver().message)
}

/**
 * Takes an authenticator app or a passkey away, unless the account could not be signed in to any more without it. Of an app its recovery codes stay.
 *
 * @throws DomainError `not-found`, `conflict`
 */
export async function removeOwnFactor(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  given: { personId: string; factor: 'totp' | { passkeyId: string } },
  from: Origin,
): Promise<void> {
  const { personId, factor } = given
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    const account = mustBeOwn(await lockAccount(tx, personId))
    const facts = await remove(tx, personId, factor)
    if (!isEnough(account, await factorsOf(tx, personId))) {
      throw new DomainError(
        'conflict',
        'You could not sign in any more without this: add another factor first',
      )
    }
    await note(tx, { account, from, now, action: 'person.remove-factor', facts })
  })
}

async function remove(
  tx: Tx,
  personId: string,
  factor: 'totp' | { passkeyId: string },
): Promise<Record<string, unknown>> {
  if (factor === 'totp') {
    if (await removeTotp(tx, personId)) return { factor: 'totp' }
    throw new DomainError('not-found', 'You have no authenticator app')
  }
  const { passkeyId } = factor
  const removed = await removePasskey(tx, personId, passkeyId)
  if (removed) return { factor: 'passkey', passkeyId, passkey: removed.name }
  throw new DomainError('not-found', 'You have no such passkey', { passkeyId })
}

/** Ten new codes; those before are worth nothing from here on. */
export async function renewRecoveryCodes(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  personId: string,
  from: Origin,
): Promise<string[]> {
  const codes = newRecoveryCodes()
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    const account = mustBeOwn(await lockAccount(tx, personId))
    if (account.hash === null) {
      throw new DomainError(
        'conflict',
        'Recovery codes stand in for a second factor, and you sign in without a password: add a second passkey instead',
      )
    }
    const hashes = codes.map((code) => hashRecoveryCode(personId, code))
    await replaceRecoveryCodes(tx, personId, { hashes, now })
    const facts = { codes: codes.length }
    await note(tx, { account, from, now, action: 'person.renew-recovery-codes', facts })
  })
  return codes
}

/** An audit row and a security event for each change of what somebody signs in with. */
async function note(
  tx: Tx,
  change: {
    account: LocalAccount
    from: Origin
    now: Date
    action: string
    facts: Record<string, unknown>
  },
): Promise<void> {
  const { account, from, now, action, facts } = change
  await recordAudit(tx, {
    at: now,
    actor: `user:${account.id}`,
    action,
    subject: account.id,
    facts: { ...facts, address: from.address },
    requestId: from.requestId,
  })
  await recordEvents(tx, now, [
    {
      source: 'server',
      kind: 'person-credentials-changed',
      severity: 'info',
      facts: {
        ...facts,
        change: action,
        personId: account.id,
        name: account.name,
        address: from.address,
      },
    },
  ])
}

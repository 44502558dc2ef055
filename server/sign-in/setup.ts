import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import {
  getAccount,
  insertPasskey,
  type LocalAccount,
  lockAccount,
  type Passkey,
  replaceRecoveryCodes,
  setPassword,
  setTotp,
} from './credential-store.ts'
import { useInvitation } from './invitation-store.ts'
import { lookAtInvitation } from './invitations.ts'
import { countAttempt, networkSubject, uncount } from './limits.ts'
import { creationOptions, hasPasskeys, newChallenge, readNewPasskey } from './passkeys.ts'
import { hashPassword } from './password-hash.ts'
import { assertGoodPassword } from './password-rules.ts'
import { hashRecoveryCode, newRecoveryCodes } from './recovery-codes.ts'
import { beginSession, type Origin, type SignedIn } from './session.ts'
import type { SignInDeps } from './sign-in.ts'
import { setTicket, type Ticket, tryTicket, useTicket } from './ticket-store.ts'
import { giveTicket, hashToken, ticketOver } from './tickets.ts'
import { newTotp, stepOfCode } from './totp.ts'
import type { FactorKind, SetupBody } from './wire.ts'

/** A person may look around, and try both kinds. */
const maxTries = 20

/**
 * The first step of taking an account: the password, which is only kept together with the first second factor. Nothing of the account changes yet, and the
 * invitation stays good.
 *
 * @throws DomainError `not-authenticated`, `invalid-request` for a password that is too easy, `rate-limited`, `busy`
 */
export async function acceptInvitation(
  ctx: SignInDeps,
  given: { token: string; password: string | undefined },
  from: Origin,
): Promise<{ ticket: string; expiresAt: Date; kinds: FactorKind[] }> {
  const { db, clock, config } = ctx
  const { token, password } = given
  const { invitation, account } = await lookedAt(ctx, token, from)
  if (password !== undefined) assertGoodPassword(password, account)
  const kinds: FactorKind[] = [
    ...(hasPasskeys(config) ? (['passkey'] as const) : []),
    ...(password === undefined ? [] : (['totp'] as const)),
  ]
  if (kinds.length === 0) {
    throw new DomainError('invalid-request', 'Choose a password: this server has no passkeys')
  }
  const about = {
    kind: 'invited' as const,
    person_id: account.id,
    invitation_id: invitation.id,
    password_hash: password === undefined ? null : await hashPassword(password),
  }
  const made = await inTransaction(db, async (tx) => await giveTicket(tx, clock.now(), about))
  return { ...made, kinds }
}

/** Tokens are too long to guess, but nobody may try for free. */
export async function lookedAt(ctx: SignInDeps, token: string, from: Origin) {
  const network = networkSubject(from.address)
  await countAttempt(ctx, { network })
  const found = await lookAtInvitation(ctx, token)
  await uncount(ctx, { network })
  return found
}

/**
 * The secret for an authenticator app, as the ticket keeps it until a code of it was shown.
 *
 * @throws DomainError `not-authenticated`, `invalid-request` without a password
 */
export async function beginTotp(
  ctx: SignInDeps,
  ticket: string,
): Promise<{ secret: string; uri: string }> {
  const { row, account } = await ticketOf(ctx, ticket)
  if (row.password_hash === null) {
    throw new DomainError('invalid-request', 'Codes are a second factor: choose a password first')
  }
  return await offerTotp(ctx, account, async (tx, sealed) => {
    await setTicket(tx, row.token_hash, { sealed_secret: sealed })
  })
}

export async function offerTotp(
  { db, kek, config }: Pick<Context, 'db' | 'kek' | 'config'>,
  account: LocalAccount,
  keep: (tx: Tx, sealed: Buffer) => Promise<void>,
): Promise<{ secret: string; uri: string }> {
  const shown = { issuer: `Fleetseal ${config.publicHost}`, label: account.email }
  const { secret, uri, sealed } = newTotp(kek, account.id, shown)
  await inTransaction(db, async (tx) => await keep(tx, sealed))
  return { secret, uri }
}

/** @throws DomainError `not-authenticated`, `invalid-request` */
export async function beginPasskey(ctx: SignInDeps, ticket: string) {
  const { row, account } = await ticketOf(ctx, ticket)
  const challenge = newChallenge()
  await inTransaction(ctx.db, async (tx) => await setTicket(tx, row.token_hash, { challenge }))
  const options = await creationOptions(ctx.config, { challenge, person: account, existing: [] })
  return { ticket, expiresAt: row.expires_at, options }
}

/**
 * Takes the account: invitation, password, first factor, recovery codes and session in one transaction, or nothing of it.
 *
 * @throws DomainError `not-authenticated`, `invalid-request`, `conflict`
 */
export async function finishSetup(
  ctx: SignInDeps,
  given: { body: SetupBody; origin: () => string },
  from: Origin,
): Promise<SignedIn & { recoveryCodes: string[] }> {
  const { db, clock, config } = ctx
  const { row, account } = await ticketOf(ctx, given.body.ticket)
  const now = clock.now()
  const factor = await readNewFactor(ctx, { ...given, ticket: row, personId: account.id })
  // Codes help out when the second factor is lost; where there is no first one they would be the only one.
  const recoveryCodes = row.password_hash === null ? [] : newRecoveryCodes()
  return await inTransaction(db, async (tx) => {
    const locked = await lockAccount(tx, account.id)
    const isOpen =
      locked?.state === 'active' &&
      row.invitation_id !== null &&
      (await useTicket(tx, row.token_hash)) &&
      (await useInvitation(tx, row.invitation_id, now))
    if (!isOpen) throw ticketOver()
    if (row.password_hash !== null)
      await setPassword(tx, locked.id, { hash: row.password_hash, now })
    await storeFactor(tx, factor)
    const hashes = recoveryCodes.map((code) => hashRecoveryCode(locked.id, code))
    await replaceRecoveryCodes(tx, locked.id, { hashes, now })
    const { kind } = given.body
    await recordAudit(tx, {
      at: now,
      actor: `user:${locked.id}`,
      action: 'person.accept-invitation',
      subject: locked.id,
      facts: { name: locked.name, factor: kind, hasPassword: row.password_hash !== null },
      requestId: from.requestId,
    })
    const method = row.password_hash === null ? ('passkey' as const) : ('password' as const)
    const session = { account: locked, method, factor: kind, from, now, counted: false }
    return { ...(await beginSession(tx, config, session)), recoveryCodes }
  })
}

async function ticketOf(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  token: string,
): Promise<{ row: Ticket; account: LocalAccount }> {
  const row = await inTransaction(
    db,
    async (tx) =>
      await tryTicket(tx, hashToken(token), { kinds: ['invited'], now: clock.now(), maxTries }),
  )
  const account = row?.person_id ? await getAccount(db, row.person_id) : undefined
  if (!row || account?.state !== 'active') throw ticketOver()
  return { row, account }
}

export type NewFactor =
  | { kind: 'totp'; personId: string; sealed: Buffer; step: number; now: Date }
  | { kind: 'passkey'; passkey: Passkey }

/**
 * A factor that works: an app that showed a right code, or a passkey that signed.
 *
 * @throws DomainError `invalid-request`
 */
export async function readNewFactor(
  { kek, clock, config }: Pick<Context, 'kek' | 'clock' | 'config'>,
  given: { body: SetupBody; origin: () => string; ticket: Ticket; personId: string },
): Promise<NewFactor> {
  const { body, ticket, personId } = given
  const now = clock.now()
  if (body.kind === 'totp') {
    const { sealed_secret: sealed } = ticket
    const step = sealed ? stepOfCode(kek, personId, { sealed, code: body.code, now }) : undefined
    if (!sealed || step === undefined) {
      const message =
        'This code does not fit: make sure that the clock of your phone is right, and type the newest one'
      throw new DomainError('invalid-request', message, { issues: [{ at: 'code', message }] })
    }
    return { kind: 'totp', personId, sealed, step, now }
  }
  if (!ticket.challenge) throw ticketOver()
  const expected = { challenge: ticket.challenge, origin: given.origin() }
  const made = await readNewPasskey(config, body.response, expected)
  const name = body.name ?? (made.is_synced ? 'Synced passkey' : 'Passkey')
  return {
    kind: 'passkey',
    passkey: {
      ...made,
      id: newId(now),
      person_id: personId,
      name,
      created_at: now,
      last_used_at: null,
    },
  }
}

/** @throws DomainError `conflict` for a passkey that is known */
export async function storeFactor(tx: Tx, factor: NewFactor): Promise<void> {
  if (factor.kind === 'totp') {
    const { personId, sealed, step, now } = factor
    await setTotp(tx, {
      person_id: personId,
      sealed_secret: sealed,
      last_step: step,
      created_at: now,
    })
    return
  }
  if (!(await insertPasskey(tx, factor.passkey))) {
    throw new DomainError('conflict', 'This passkey is known already')
  }
}

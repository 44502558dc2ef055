import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import {
  findAccount,
  getAccount,
  type LocalAccount,
  lockAccount,
  replaceHash,
} from './credential-store.ts'
import { type Factors, factorsOf, judgeFactor, kindsOf, type Proof } from './factors.ts'
import { accountSubject, countAttempt, networkSubject, type Subjects, uncount } from './limits.ts'
import { hasPasskeys, newChallenge, requestOptions } from './passkeys.ts'
import { hashPassword, isOutdated, isPassword } from './password-hash.ts'
import { beginSession, type Origin, type SignedIn } from './session.ts'
import { setTicket, type Ticket, tryTicket, useTicket } from './ticket-store.ts'
import { giveTicket, hashToken, maxTries, ticketOver } from './tickets.ts'
import type { FactorKind, ShownFactor } from './wire.ts'

export type SignInDeps = Pick<Context, 'db' | 'clock' | 'kek' | 'config' | 'log' | 'metrics'>

/**
 * The first step: name and password. The answer is a ticket for the second factor and opens nothing else. Whether there is such an account, whether it has a
 * password, and whether it is disabled cannot be told from a refusal, nor from the time it takes.
 *
 * @throws DomainError `not-authenticated`, `rate-limited`, `busy`
 */
export async function showPassword(
  ctx: SignInDeps,
  given: { email: string; password: string },
  from: Origin,
): Promise<{ ticket: string; expiresAt: Date; kinds: FactorKind[] }> {
  const { db, clock, config } = ctx
  const email = given.email.normalize('NFKC')
  const subjects = { account: accountSubject(email), network: networkSubject(from.address) }
  await countAttempt(ctx, subjects).catch((error: unknown) => {
    noteLocked(ctx, error, from)
    throw error
  })
  const account = await findAccount(db, email)
  const fits = await passwordFits(ctx, { account, password: given.password, subjects })
  if (!account || !fits || account.state !== 'active') {
    const reason = !account ? 'unknown-account' : fits ? 'disabled-account' : 'wrong-password'
    noteRefusal(ctx, { reason, from, account })
    throw new DomainError(
      'not-authenticated',
      'The address or the password is wrong, or this account signs in another way',
    )
  }
  await uncount(ctx, subjects)
  const kinds = kindsOf(config, await factorsOf(db, account.id))
  const about = { kind: 'password-shown' as const, person_id: account.id }
  const made = await inTransaction(db, async (tx) => await giveTicket(tx, clock.now(), about))
  return { ...made, kinds }
}

async function passwordFits(
  ctx: SignInDeps,
  tried: { account: LocalAccount | undefined; password: string; subjects: Subjects },
): Promise<boolean> {
  const { account, password, subjects } = tried
  const hash = account?.hash ?? undefined
  try {
    if (!(await isPassword(password, hash))) return false
    if (account && hash !== undefined && isOutdated(hash)) {
      const to = await hashPassword(password)
      await inTransaction(ctx.db, async (tx) => {
        await replaceHash(tx, account.id, { from: hash, to })
      })
    }
    return true
  } catch (error) {
    // Nobody looked at it.
    if (error instanceof DomainError && error.code === 'busy') await uncount(ctx, subjects)
    throw error
  }
}

/**
 * What a browser needs to ask for a passkey: one of the account whose password was shown, or, without a ticket, any.
 *
 * @throws DomainError `not-authenticated` when the ticket is over, `invalid-request` when this server has no passkeys
 */
export async function offerPasskey(ctx: SignInDeps, ticket: string | undefined) {
  const { db, clock, config } = ctx
  if (!hasPasskeys(config)) {
    throw new DomainError('invalid-request', 'This server has no host name, and so no passkeys')
  }
  const challenge = newChallenge()
  const now = clock.now()
  if (ticket === undefined) {
    const made = await inTransaction(
      db,
      async (tx) => await giveTicket(tx, now, { kind: 'passkey', challenge }),
    )
    return { ...made, options: await requestOptions(config, { challenge, allowed: [] }) }
  }
  const hash = hashToken(ticket)
  const found = await inTransaction(db, async (tx) => {
    const kinds = ['password-shown'] as const
    const row = await tryTicket(tx, hash, { kinds, now, maxTries })
    if (row) await setTicket(tx, hash, { challenge })
    return row
  })
  if (!found?.person_id) throw ticketOver()
  const { passkeys } = await factorsOf(db, found.person_id)
  const options = await requestOptions(config, { challenge, allowed: passkeys })
  return { ticket, expiresAt: found.expires_at, options }
}

/**
 * The second step, or the only one with a passkey: the factor is used up and the session begins in one transaction.
 *
 * @throws DomainError `not-authenticated`, `rate-limited`, `invalid-request`
 */
export async function showFactor(
  ctx: SignInDeps,
  given: { ticket: string; shown: ShownFactor; origin: () => string },
  from: Origin,
): Promise<SignedIn & { factors: Factors }> {
  const { db, clock } = ctx
  const hash = hashToken(given.ticket)
  const ticket = await inTransaction(db, async (tx) => {
    const kinds = ['password-shown', 'passkey'] as const
    return await tryTicket(tx, hash, { kinds, now: clock.now(), maxTries })
  })
  if (!ticket) throw ticketOver()
  const account = ticket.person_id === null ? undefined : await getAccount(db, ticket.person_id)
  await countAttempt(ctx, subjectsOf(given.shown, { account, from })).catch((error: unknown) => {
    noteLocked(ctx, error, from)
    throw error
  })
  const personId = ticket.person_id ?? undefined
  const { challenge } = ticket
  const verdict = await judgeFactor(ctx, given.shown, { personId, challenge, origin: given.origin })
  if (!verdict.proof) {
    const { reason, personId: owner } = verdict
    const whose = owner === undefined ? account : await getAccount(db, owner)
    noteRefusal(ctx, { reason, from, account: whose })
    throw notFitting(given.shown.kind)
  }
  const signedIn = await open(ctx, { ticket, proof: verdict.proof, from })
  if (!signedIn) {
    noteRefusal(ctx, { reason: 'used-before', from, account })
    throw notFitting(given.shown.kind)
  }
  return { ...signedIn, factors: await factorsOf(db, signedIn.account.id) }
}

/** Nobody guesses a passkey, and so nobody can keep its owner out by failing. */
function subjectsOf(
  { kind }: ShownFactor,
  { account, from }: { account: LocalAccount | undefined; from: Origin },
): Subjects {
  if (kind === 'passkey') return {}
  return {
    account: account && accountSubject(account.email),
    network: networkSubject(from.address),
  }
}

async function open(
  { db, clock, config }: SignInDeps,
  { ticket, proof, from }: { ticket: Ticket; proof: Proof; from: Origin },
): Promise<SignedIn | undefined> {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const account = await lockAccount(tx, proof.personId)
    if (account?.state !== 'active') return undefined
    // The factor first: a ticket whose code was used already is good for the next code.
    if (!(await proof.use(tx, now)) || !(await useTicket(tx, ticket.token_hash))) return undefined
    const method = ticket.person_id === null ? 'passkey' : 'password'
    const counted = proof.kind !== 'passkey'
    return await beginSession(tx, config, {
      account,
      method,
      factor: proof.kind,
      from,
      now,
      counted,
    })
  })
}

function notFitting(kind: FactorKind): DomainError {
  const message = {
    totp: 'This code is wrong, or was used before: wait for the next one',
    'recovery-code': 'This recovery code is wrong, or was used before: take another',
    passkey: 'This passkey does not fit: try another one, or sign in with the password',
  }[kind]
  return new DomainError('not-authenticated', message)
}

/** For the operators' eyes: what was refused, and why. The one who was refused is told less. */
export function noteRefusal(
  ctx: Pick<SignInDeps, 'db' | 'clock' | 'log' | 'metrics'>,
  refused: { reason: string; from: Origin; account: LocalAccount | undefined },
): void {
  const { reason, from, account } = refused
  noteEvent(ctx, {
    source: 'server',
    kind: 'person-sign-in-refused',
    severity: reason === 'passkey-counter-behind' ? 'critical' : 'warning',
    facts: {
      reason,
      address: from.address,
      ...(account ? { personId: account.id, name: account.name } : {}),
    },
  })
}

/** Once for each attempt that finds a closed door. */
export function noteLocked(
  ctx: Pick<SignInDeps, 'db' | 'clock' | 'log' | 'metrics'>,
  error: unknown,
  from: Origin,
): void {
  if (!(error instanceof DomainError) || error.code !== 'rate-limited') return
  noteEvent(ctx, {
    source: 'server',
    kind: 'person-sign-in-locked',
    severity: 'warning',
    facts: {
      address: from.address,
      retryAfterSeconds: error.facts['retryAfterSeconds'],
    },
  })
}

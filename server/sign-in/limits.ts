import { createHash } from 'node:crypto'

import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { networkOf } from '../operators/failure-limit.ts'
import { giveBack, type Pace, type Standing, standingOf, takeAttempt } from './limit-store.ts'

const minuteMs = 60_000

/**
 * After five failures a minute, then two, four … up to an hour. At a hundred in a row (NIST SP 800-63B section 5.2.2) an administrator has to look at it;
 * passkeys, which nobody can guess, are not slowed down by it.
 */
const accountPace: Pace = {
  free: 5,
  firstMs: minuteMs,
  maxMs: 60 * minuteMs,
  forgetMs: 24 * 60 * minuteMs,
  closedAt: 100,
}

/** A network may be a whole company: more at once, and never closed for good. */
const networkPace: Pace = {
  free: 20,
  firstMs: minuteMs,
  maxMs: 15 * minuteMs,
  forgetMs: 60 * minuteMs,
}

/** What attempts are counted by. */
export interface Subjects {
  /** Absent: by network only. */
  account?: string | undefined
  /** Absent: by account only. */
  network?: string | undefined
}

/** By a hash, so that what people type by mistake, such as their password, is kept nowhere. The same whether there is such an account or not. */
export function accountSubject(email: string): string {
  return `account:${createHash('sha256').update(email.toLowerCase()).digest('hex')}`
}

/**
 * What somebody who is signed in tries. Counted apart: whoever fails outside, under this address or in this network, must not keep the one inside from what takes
 * a second factor, such as cutting off a device.
 */
export function insideSubject(personId: string): string {
  return `inside:${personId}`
}

export function networkSubject(address: string): string {
  return `network:${networkOf(address)}`
}

type Deps = Pick<Context, 'db' | 'clock'>

/**
 * Counts an attempt, before anything is reckoned.
 *
 * @throws DomainError `rate-limited` with `retryAfterSeconds`
 */
export async function countAttempt(
  { db, clock }: Deps,
  { account, network }: Subjects,
): Promise<void> {
  const now = clock.now()
  // Nothing is thrown in here: what was counted has to stay.
  const until = await inTransaction(db, async (tx) => {
    const blocked =
      network === undefined ? undefined : await takeAttempt(tx, network, { pace: networkPace, now })
    if (blocked || account === undefined) return blocked
    const isBlocked = await takeAttempt(tx, account, { pace: accountPace, now })
    // Whoever waits for the account is no guesser of the network's.
    if (isBlocked && network !== undefined) await giveBack(tx, [network])
    return isBlocked
  })
  if (until) throw tooMany(until, now)
}

/** Takes back what was counted for attempts that were right. */
export async function uncount({ db }: Pick<Deps, 'db'>, subjects: Subjects): Promise<void> {
  await inTransaction(db, async (tx) => await giveBack(tx, namesOf(subjects)))
}

export function namesOf({ account, network }: Subjects): string[] {
  return [network, account].filter((name) => name !== undefined)
}

export async function standingOfAccount(db: Db, email: string, now: Date): Promise<Standing> {
  return await standingOf(db, accountSubject(email), now)
}

function tooMany(until: Date, now: Date): DomainError {
  const seconds = Math.ceil((until.getTime() - now.getTime()) / 1000)
  const isClosed = seconds > 366 * 86_400
  const wait =
    seconds < 120 ? `${seconds} seconds` : `${Math.ceil(Math.min(seconds, 86_400) / 60)} minutes`
  return new DomainError(
    'rate-limited',
    isClosed
      ? 'Too many failed attempts: ask an administrator to unlock this, or use a passkey'
      : `Too many failed attempts: try again in ${wait}, or use a passkey`,
    { retryAfterSeconds: Math.min(seconds, 86_400) },
  )
}

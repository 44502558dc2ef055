import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { recordEvents } from '../events/record.ts'
import type { Actor } from '../http/access.ts'
import { getAccount, type LocalAccount, lockAccount } from './credential-store.ts'
import { type Factors, factorsOf } from './factors.ts'
import { openInvitation } from './invitation-store.ts'
import { forgetFailures, type Standing } from './limit-store.ts'
import { accountSubject, insideSubject, standingOfAccount } from './limits.ts'

export interface AccountState {
  account: LocalAccount
  factors: Factors
  standing: Standing
  invitationExpiresAt: Date | undefined
}

/**
 * What an administrator may know of somebody's local account.
 *
 * @throws DomainError `not-found`
 */
export async function readAccount(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  personId: string,
): Promise<AccountState> {
  const account = found(await getAccount(db, personId), personId)
  const now = clock.now()
  return {
    account,
    factors: await factorsOf(db, personId),
    standing: await standingOfAccount(db, account.email, now),
    invitationExpiresAt: (await openInvitation(db, personId, now))?.expires_at,
  }
}

/** Forgets the failed attempts on an account, so that its owner need not wait. Again changes nothing. */
export async function unlock(
  ctx: Pick<Context, 'db' | 'clock'>,
  { personId, by }: { personId: string; by: Actor },
): Promise<AccountState> {
  const { db, clock } = ctx
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    const { email, name } = found(await lockAccount(tx, personId), personId)
    const before = await standingOfAccount(tx, email, now)
    const outside = await forgetFailures(tx, accountSubject(email))
    const inside = await forgetFailures(tx, insideSubject(personId))
    if (!outside && !inside) return
    const facts = { name, failures: before.failures }
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: 'person.unlock',
      subject: personId,
      facts,
      requestId: by.requestId,
    })
    await recordEvents(tx, now, [
      {
        source: 'server',
        kind: 'person-unlocked',
        severity: 'info',
        facts: { ...facts, personId, by: by.id },
      },
    ])
  })
  return await readAccount(ctx, personId)
}

function found(account: LocalAccount | undefined, personId: string): LocalAccount {
  if (account) return account
  throw new DomainError('not-found', 'No such local account', { personId })
}

import { PkiError } from '../../pki/errors.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Worker } from '../workers/worker.ts'
import { assertKek } from './kek-check.ts'
import { followKek } from './kek-rotation.ts'
import type { AuthorityPurpose } from './state.ts'
import {
  type AuthorityRow,
  countInUse,
  findActive,
  insertAuthorities,
  lockInstallation,
} from './store.ts'

export interface By {
  actor: string
  requestId?: string
}

export type AuthorityDeps = Pick<
  Context,
  'db' | 'clock' | 'log' | 'bus' | 'config' | 'kek' | 'authorities'
>

/** Not retired, of one purpose. Each is sent in every handshake, and a person made each. */
const maxInUse = 8

/**
 * A transaction that changes authorities: one at a time, and only while the key-encryption key in memory is the one the
 * database is sealed with.
 */
export async function changing<T>(ctx: AuthorityDeps, work: (tx: Tx) => Promise<T>): Promise<T> {
  return await inTransaction(ctx.db, async (tx) => {
    await lockInstallation(tx)
    await assertKek(tx, ctx.kek)
    return await work(tx)
  })
}

/** Tells every process, this one first. After the commit. */
export async function announceAuthorities(
  ctx: Pick<Context, 'bus' | 'authorities'>,
  ids: readonly string[],
): Promise<void> {
  await ctx.authorities.reload()
  await ctx.bus.publish('authority', ids)
}

/** In the transaction: the state a new authority begins in. The first of its purpose has nothing to take over. */
export async function firstState(
  tx: Tx,
  purpose: AuthorityPurpose,
): Promise<'active' | 'prepared'> {
  if ((await countInUse(tx, purpose)) >= maxInUse) {
    throw new DomainError(
      'quota-exhausted',
      `At most ${maxInUse} authorities of a purpose are in use: retire one`,
      { purpose },
    )
  }
  return (await findActive(tx, purpose)) ? 'prepared' : 'active'
}

export async function addAuthority(
  tx: Tx,
  row: AuthorityRow,
  { actor, requestId, facts }: By & { facts: Record<string, unknown> },
): Promise<AuthorityRow> {
  const added = { ...row, state: await firstState(tx, row.purpose) }
  await insertAuthorities(tx, [added])
  const { purpose, name, state, issuer_id: issuerId } = added
  await recordAudit(tx, {
    at: row.created_at,
    actor,
    action: 'authority.create',
    subject: row.id,
    facts: { purpose, name, state, issuerId, ...facts },
    ...(requestId === undefined ? {} : { requestId }),
  })
  return added
}

/** What the library refuses is refused to the caller, in its words. */
export async function refusing<T>(work: () => Promise<T> | T): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof PkiError)) throw error
    throw new DomainError('invalid-request', error.message, { code: error.code }, { cause: error })
  }
}

/** Follows what other processes change: at once when told, and by looking when a notification was lost. */
export function subscribeAuthorities(ctx: Following & Pick<Context, 'bus'>): void {
  const reload = () => {
    follow(ctx).catch((error: unknown) => {
      ctx.log.error({ err: error }, 'the authorities could not be read again')
    })
  }
  ctx.bus.subscribe('authority', reload)
  ctx.bus.onGap(reload)
}

type Following = Pick<Context, 'db' | 'config' | 'kek' | 'log' | 'authorities'>

/** The key first: new authorities open with it. */
async function follow(ctx: Following): Promise<void> {
  await followKek(ctx)
  await ctx.authorities.reload()
}

export function authorityWorker(ctx: Following): Worker {
  return {
    name: 'authorities',
    idleMs: 10_000,
    step: async () => {
      await follow(ctx)
      return false
    },
  }
}

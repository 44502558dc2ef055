import { readCaRequest } from '../../pki/ceremony/ca-request.ts'
import { PkiError } from '../../pki/errors.ts'
import { type Certificate, parseCertificate } from '../../pki/x509/parse.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Worker } from '../workers/worker.ts'
import { assertKek } from './kek-check.ts'
import { followKek } from './kek-rotation.ts'
import { maxNameBytes, nameBytes } from './name-budget.ts'
import { listRequests } from './request-store.ts'
import { type AuthorityPurpose, defaultSeries } from './state.ts'
import {
  type AuthorityRow,
  countInUse,
  findActive,
  insertAuthorities,
  listAuthorities,
  lockInstallation,
} from './store.ts'
import { isNamed } from './trust.ts'

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
async function firstState(
  tx: Tx,
  { purpose, series }: AuthorityRow,
): Promise<'active' | 'prepared'> {
  if ((await countInUse(tx, purpose, series)) >= maxInUse) {
    throw new DomainError(
      'quota-exhausted',
      `At most ${maxInUse} authorities of a purpose and series are in use: retire one`,
      { purpose, series },
    )
  }
  return (await findActive(tx, purpose, series)) ? 'prepared' : 'active'
}

/** @throws DomainError `quota-exhausted` when listeners could not name one more without endangering every handshake */
async function assertNamesFit(tx: Tx, row: AuthorityRow): Promise<void> {
  const named = (await listAuthorities(tx)).filter(({ state }) => state !== 'retired')
  const bytes = nameBytes([...named, row].filter(isNamed).map(certificateOf))
  if (bytes <= maxNameBytes) return
  throw new DomainError(
    'quota-exhausted',
    `The names of all authorities would take ${bytes} bytes of each handshake, and ${maxNameBytes} are the most: retire some`,
    { bytes, maxBytes: maxNameBytes },
  )
}

function certificateOf({ certificate }: AuthorityRow): Certificate {
  return parseCertificate(certificate)
}

/** @throws DomainError `invalid-request` */
export function assertSeries(purpose: AuthorityPurpose, series: string | undefined): void {
  if (series === undefined || series === defaultSeries || purpose === 'devices') return
  throw new DomainError('invalid-request', 'Only issuers of devices have several series', {
    issues: [{ at: 'series', message: 'belongs to the purpose devices' }],
  })
}

/**
 * A key in a token is used when it is there already; it must not be one that is in use.
 *
 * @throws DomainError `conflict`
 */
export async function assertNewKey(tx: Tx, uri: string | null, spki: Buffer): Promise<void> {
  const isTaken =
    (await listAuthorities(tx)).some((row) => certificateOf(row).spki.equals(spki)) ||
    (await listRequests(tx)).some(({ request }) => readCaRequest(request).csr.spki.equals(spki))
  if (!isTaken) return
  throw new DomainError('conflict', 'This key is the one of another authority: name a new one', {
    keyUri: uri,
  })
}

export async function addAuthority(
  tx: Tx,
  row: AuthorityRow,
  { actor, requestId, facts }: By & { facts: Record<string, unknown> },
): Promise<AuthorityRow> {
  const added = { ...row, state: await firstState(tx, row) }
  if (isNamed(row)) await assertNamesFit(tx, row)
  await insertAuthorities(tx, [added])
  const { purpose, name, series, state, issuer_id: issuerId, key_uri: keyUri } = added
  await recordAudit(tx, {
    at: row.created_at,
    actor,
    action: 'authority.create',
    subject: row.id,
    facts: { purpose, name, series, state, issuerId, keyUri, ...facts },
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

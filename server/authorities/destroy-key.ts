import { parseCertificate } from '../../pki/x509/parse.ts'
import { recordAudit } from '../audit/audit.ts'
import { DomainError } from '../errors.ts'
import type { Worker } from '../workers/worker.ts'
import { announceAuthorities, type AuthorityDeps, type By, changing } from './changes.ts'
import {
  type AuthorityRow,
  clearKey,
  findAuthority,
  getAuthority,
  lastEndUnder,
  listAuthorities,
  listBelow,
} from './store.ts'
import { destroyTokenKey } from './token-keys.ts'

/** A certificate that ends after it was revoked appears on one more list, which has to be signed (RFC 5280 section 3.3). */
const lastListMs = 2 * 86_400_000

/**
 * Destroys the private key of a retired authority, here and in its token, once everything under it has ended: until then its
 * lists have to be signed. Nothing can be issued with it again, not even by whoever takes this machine. Copies in backups of the
 * database are not reached. Again changes nothing.
 *
 * @throws DomainError `not-found`, `illegal-transition`, `conflict` while something under it has not ended, `busy` when its token
 *   cannot be used
 */
export async function destroyKey(
  ctx: AuthorityDeps,
  { id, ...by }: By & { id: string },
): Promise<AuthorityRow> {
  const before = await getAuthority(ctx.db, id)
  if (before.key_destroyed_at) return before
  await assertEnded(ctx, before)
  // The token first: when this ends here, the next attempt finds nothing there and goes on.
  if (before.key_uri !== null) {
    await destroyTokenKey(ctx.config, parseCertificate(before.certificate).spki, before.key_uri)
  }
  const now = ctx.clock.now()
  const destroyed = await changing(ctx, async (tx) => {
    const row = await findAuthority(tx, id)
    if (!row || row.state !== 'retired' || row.key_destroyed_at) return await getAuthority(tx, id)
    await clearKey(tx, id, now)
    await recordAudit(tx, {
      at: now,
      actor: by.actor,
      action: 'authority.destroy-key',
      subject: id,
      facts: { purpose: row.purpose, name: row.name, keyUri: row.key_uri },
      ...(by.requestId === undefined ? {} : { requestId: by.requestId }),
    })
    return await getAuthority(tx, id)
  })
  await announceAuthorities(ctx, [id])
  return destroyed
}

async function assertEnded(ctx: AuthorityDeps, row: AuthorityRow): Promise<void> {
  const { id, state } = row
  if (state !== 'retired') {
    throw new DomainError('illegal-transition', `It is ${state}: retire it first`, { state })
  }
  if ((row.wrapped_key ?? row.key_uri) === null) {
    throw new DomainError('conflict', 'The key of this authority is not here')
  }
  const last = await lastEndUnder(ctx.db, id)
  const below = (await listBelow(ctx.db, id)).map((der) => parseCertificate(der).notAfter)
  const ends = [...below, ...(last ? [last] : [])].map((end) => end.getTime())
  const from = new Date(Math.max(0, ...ends) + lastListMs)
  if (from <= ctx.clock.now()) return
  throw new DomainError(
    'conflict',
    `What it issued has not all ended, and its revocation lists are signed until ${from.toISOString()}: come back then`,
    { from: from.toISOString() },
  )
}

/** Keys that are needed no more are no good to anybody but a thief. */
export async function destroyEndedKeys(ctx: AuthorityDeps): Promise<void> {
  for (const row of await listAuthorities(ctx.db)) {
    if (row.state !== 'retired' || (row.wrapped_key ?? row.key_uri) === null) continue
    try {
      await destroyKey(ctx, { id: row.id, actor: 'system' })
    } catch (error) {
      // Not yet, or its token is away: another time.
      if (!(error instanceof DomainError)) throw error
      if (error.code === 'busy') ctx.log.warn({ err: error }, 'a key could not be destroyed')
    }
  }
}

export function keyWorker(ctx: AuthorityDeps): Worker {
  return {
    name: 'ended-keys',
    idleMs: 21_600_000,
    step: async () => {
      await destroyEndedKeys(ctx)
      return false
    },
  }
}

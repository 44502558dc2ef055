import { parseCertificate } from '../../pki/x509/parse.ts'
import { keyUpdateOf } from '../../pki/x509/rollover.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Tx } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import type { Issuer } from './authorities.ts'
import {
  addAuthority,
  announceAuthorities,
  assertNewKey,
  assertSeries,
  type AuthorityDeps,
  type By,
  changing,
  refusing,
} from './changes.ts'
import { destroyKey } from './destroy-key.ts'
import { type Choices, makeAuthority, newMark } from './hierarchy.ts'
import { afterAction, type AuthorityAction, type AuthorityPurpose, defaultSeries } from './state.ts'
import {
  type AuthorityRow,
  countDependents,
  findActive,
  findAuthority,
  getAuthority,
  insertRootLinks,
  isSeriesNamed,
  setState,
} from './store.ts'

export interface CreateAuthority extends By, Choices {
  id: string
  purpose: AuthorityPurpose
}

/**
 * A new authority, signed by the active root; a new root with the two certificates that connect it to the active one. The
 * first of its purpose is active at once; another one is prepared, so that everybody accepts it before it issues. The
 * same id again answers the same authority.
 *
 * @throws DomainError `not-ready` when the root's key is elsewhere
 */
export async function createAuthority(
  ctx: AuthorityDeps,
  { id, purpose, series, algorithm, keyUri, ...by }: CreateAuthority,
): Promise<AuthorityRow> {
  const known = await findAuthority(ctx.db, id)
  if (known) return known
  const now = ctx.clock.now()
  assertSeries(purpose, series)
  const root = rootWithKey(ctx, purpose)
  const { kek, config } = ctx
  const { urls } = ctx.authorities
  const choices = { series, algorithm, keyUri }
  const making = { kek, config, now, urls, id, purpose, mark: newMark(), ...choices }
  const { row, issuer } = await makeAuthority(
    purpose === 'root' ? making : { ...making, issuer: root },
  )
  const link = purpose === 'root' ? await linkOf(root, issuer) : []
  const facts = { notAfter: issuer.certificate.notAfter.toISOString() }
  const added = await changing(ctx, async (tx) => {
    const before = await findAuthority(tx, id)
    if (before) return before
    await assertNewKey(tx, row.key_uri, issuer.certificate.spki)
    if ((await findActive(tx, 'root'))?.id !== root.id) {
      throw new DomainError('conflict', 'Another root has become the active one: try again')
    }
    const stored = await addAuthority(tx, row, { ...by, facts })
    await insertRootLinks(tx, link)
    return stored
  })
  await announceAuthorities(ctx, [id])
  return added
}

function rootWithKey(ctx: AuthorityDeps, purpose: AuthorityPurpose): Issuer {
  const { root, find } = ctx.authorities
  const found = find(root.id)
  if (found) return found
  throw new DomainError(
    'not-ready',
    purpose === 'root'
      ? 'The key of the active root is not here: make the next root where it is, and import the file (fleetseal ceremony rollover)'
      : "The root's key is not here: make a request, have it signed where the key is, and send the answer (fleetseal authority request)",
  )
}

async function linkOf(old: Issuer, next: Issuer) {
  const { oldWithNew, newWithOld } = await refusing(() => keyUpdateOf(old, next))
  return [{ old_id: old.id, new_id: next.id, old_with_new: oldWithNew, new_with_old: newWithOld }]
}

export interface ActOnAuthority extends By {
  id: string
  action: AuthorityAction
}

/**
 * `destroy-key`: its private key is gone for good; see destroy-key.ts. `activate`: from now on it issues for its purpose, and the one before stays accepted. `retire`: it is accepted no more.
 * An authority that is in that state already stays as it is.
 *
 * @throws DomainError `illegal-transition`, `conflict` while certificates or authorities depend on one that is to be retired
 */
export async function actOnAuthority(
  ctx: AuthorityDeps,
  { id, action, ...by }: ActOnAuthority,
): Promise<AuthorityRow> {
  if (action === 'destroy-key') return await destroyKey(ctx, { id, ...by })
  const now = ctx.clock.now()
  const changed = await changing(ctx, async (tx) => {
    const row = await getAuthority(tx, id)
    const done = action === 'activate' ? 'active' : 'retired'
    if (row.state === done) return row
    const to = await nextState(tx, row, action)
    if (action === 'retire') await assertUnused(tx, row, now)
    else await stepDown(tx, row, by, now)
    await setState(tx, id, { from: row.state, to, now })
    await record(tx, row, { action, to, now, ...by })
    return await getAuthority(tx, id)
  })
  await announceAuthorities(ctx, [id])
  return changed
}

/** The one that issues is not retired, unless it is the last of a series that no profile names any more. */
async function nextState(tx: Tx, row: AuthorityRow, action: 'activate' | 'retire') {
  const isLast = row.state === 'active' && action === 'retire' && row.series !== defaultSeries
  if (isLast && !(await isSeriesNamed(tx, row.series))) return 'retired'
  return afterAction(row.state, action)
}

/** The active one makes room. */
async function stepDown(tx: Tx, next: AuthorityRow, by: By, now: Date): Promise<void> {
  const { notAfter } = parseCertificate(next.certificate)
  if (notAfter <= now) throw new DomainError('conflict', 'This authority has expired: make another')
  if (next.revoked_at)
    throw new DomainError('conflict', 'Its root revoked this authority: make another')
  if (next.purpose !== 'root' && (next.wrapped_key ?? next.key_uri) === null) {
    throw new DomainError('not-ready', 'The key of this authority is not here')
  }
  const active = await findActive(tx, next.purpose, next.series)
  if (!active) return
  await setState(tx, active.id, { from: 'active', to: 'accepted', now })
  await record(tx, active, { action: 'step-down', to: 'accepted', now, ...by })
}

/** Every process has heard of a change long before (changes.ts), so that none issues with it any more. */
const settledMs = 60_000

async function assertUnused(tx: Tx, row: AuthorityRow, now: Date): Promise<void> {
  const { id, purpose, state, changed_at: changedAt } = row
  if (state === 'accepted' && now.getTime() - changedAt.getTime() < settledMs) {
    throw new DomainError(
      'not-ready',
      'It issued until a moment ago: retire it in a minute, when every process knows',
    )
  }
  const { certificates, authorities } = await countDependents(tx, id, now)
  if (certificates === 0 && authorities === 0) return
  throw new DomainError(
    'conflict',
    purpose === 'root'
      ? `${authorities} authorities below this root are in use: retire them first`
      : `${certificates} certificates of devices depend on this authority: wait until they are renewed, or revoke them`,
    { certificates, authorities },
  )
}

async function record(
  tx: Tx,
  row: AuthorityRow,
  { action, to, now, actor, requestId }: By & { action: string; to: string; now: Date },
): Promise<void> {
  await recordAudit(tx, {
    at: now,
    actor,
    action: `authority.${action}`,
    subject: row.id,
    facts: { purpose: row.purpose, name: row.name, from: row.state, to },
    ...(requestId === undefined ? {} : { requestId }),
  })
}

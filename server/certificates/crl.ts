import type { Authorities } from '../authorities/authorities.ts'
import { readRevocationRev } from '../authorities/revocation-rev.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Worker } from '../workers/worker.ts'
import { isAging, makeLists } from './crl-lists.ts'
import {
  type CrlHead,
  type CrlPart,
  type CrlRow,
  deleteOlderCrls,
  findLatestCrl,
  insertCrl,
  isKeyDestroyed,
  listLatestHeads,
  listSigningAuthorities,
  wholeList,
} from './crl-store.ts'
import { shardsOf } from './shards.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'bus'> & {
  authorities: Pick<Authorities, 'root' | 'devices' | 'servers' | 'find' | 'urls'>
}

const maxAttempts = 20

/** The newest CRL of an authority, the whole list unless another part is asked for; undefined before the first one. */
export async function latestCrl(
  db: Db,
  authorityId: string,
  part?: CrlPart,
): Promise<CrlRow | undefined> {
  return await findLatestCrl(db, authorityId, part)
}

/** One publication a time and authority in this process: callers that arrive meanwhile share the next one. */
const running = new WeakMap<Db, Map<string, { current: Promise<void>; next?: Promise<void> }>>()

/**
 * Publishes CRLs that hold everything that was revoked before this call: the whole list, the shards that changed, and the
 * deltas to both. All of one publication have one number. Numbers rise by one, whoever publishes: the number is
 * taken by inserting the row of the whole list. An authority whose key was destroyed has none any more.
 *
 * @throws DomainError `busy` when the authority cannot sign here
 */
export async function publishCrl(ctx: Deps, authorityId: string): Promise<void> {
  const byAuthority = running.get(ctx.db) ?? new Map()
  running.set(ctx.db, byAuthority)
  const entry = byAuthority.get(authorityId)
  if (!entry) {
    const started = { current: publish(ctx, authorityId) }
    byAuthority.set(authorityId, started)
    return await settle(byAuthority, authorityId, started.current)
  }
  // What runs now may have read the list before the caller's revocation.
  entry.next ??= entry.current
    .catch(() => {})
    .then(async () => {
      byAuthority.delete(authorityId)
      await publishCrl(ctx, authorityId)
    })
  return await entry.next
}

async function settle(
  byAuthority: Map<string, { current: Promise<void>; next?: Promise<void> }>,
  authorityId: string,
  work: Promise<void>,
): Promise<void> {
  try {
    await work
  } finally {
    const entry = byAuthority.get(authorityId)
    if (entry?.current === work && !entry.next) byAuthority.delete(authorityId)
  }
}

async function publish(ctx: Deps, authorityId: string): Promise<void> {
  // A device that is revoked may have had a certificate of it once: that must not keep the others' lists waiting.
  if (await isKeyDestroyed(ctx.db, authorityId)) return
  const needed = await readRevocationRev(ctx.db, authorityId)
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const heads = await listLatestHeads(ctx.db, authorityId)
    if (!isDue(ctx, authorityId, heads, needed)) return
    if (await publishNext(ctx, authorityId, heads)) {
      await ctx.bus.publish('crl', [authorityId])
      return
    }
    // Another process took the number; its CRL may cover what ours was to.
  }
  throw new DomainError('busy', 'The revocation list could not be published', { authorityId })
}

/** A list is missing, a day old, or the whole list is behind the revocations. */
function isDue(
  { authorities, clock }: Deps,
  authorityId: string,
  heads: readonly CrlHead[],
  needed: number,
): boolean {
  const whole = heads.find(({ shard }) => shard === wholeList)
  if (!whole || whole.covers_rev < needed) return true
  const byShard = new Map(heads.map((head) => [head.shard, head]))
  return [wholeList, ...shardsOf(authorities, authorityId)].some((shard) => {
    const head = byShard.get(shard)
    return !head || isAging(head.this_update, clock.now())
  })
}

async function publishNext(
  ctx: Deps,
  authorityId: string,
  heads: readonly CrlHead[],
): Promise<boolean> {
  const rows = await makeLists(ctx, authorityId, heads)
  return await inTransaction(ctx.db, async (tx) => {
    for (const row of rows) if (!(await insertCrl(tx, row))) return false
    for (const { shard, number: before } of heads) {
      const isReplaced = rows.some((row) => row.shard === shard)
      if (isReplaced) await deleteOlderCrls(tx, authorityId, { shard, before })
    }
    return true
  })
}

/** Publishes every CRL that is missing, a day old, or behind the revocations of its authority. */
export async function publishDueCrls(ctx: Deps): Promise<void> {
  for (const authority of await listSigningAuthorities(ctx.db)) {
    const heads = await listLatestHeads(ctx.db, authority.id)
    const isBehind = isDue(ctx, authority.id, heads, authority.revocation_rev)
    if (!isBehind) continue
    try {
      await publishCrl(ctx, authority.id)
    } catch (error) {
      // One whose key cannot be used now must not keep the others from theirs, nor the server from starting.
      if (!(error instanceof DomainError) || error.code !== 'busy') throw error
      ctx.log.error(
        { err: error, authorityId: authority.id },
        'a revocation list is due and could not be signed',
      )
    }
  }
}

export function crlWorker(ctx: Deps): Worker {
  return {
    name: 'crl',
    idleMs: 15_000,
    step: async () => {
      await publishDueCrls(ctx)
      return false
    },
  }
}

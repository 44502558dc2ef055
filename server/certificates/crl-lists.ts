import { buildCrl, type RevokedCertificate, signCrl } from '../../pki/crl/build.ts'
import { crlReasons } from '../../pki/crl/revocation.ts'
import { crlTimes } from '../../pki/crl/schedule.ts'
import type { Signer } from '../../pki/signer.ts'
import type { Certificate } from '../../pki/x509/parse.ts'
import type { Authorities } from '../authorities/authorities.ts'
import { readRevocationRev } from '../authorities/revocation-rev.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { signed } from '../measured.ts'
import type { Metrics } from '../metrics.ts'
import {
  type CrlHead,
  type CrlRow,
  type ListedEntry,
  listChangedShards,
  listReleased,
  listRevoked,
  type RevokedEntry,
  wholeList,
} from './crl-store.ts'
import { shardsOf } from './shards.ts'

type Deps = Pick<Context, 'db' | 'clock'> & {
  metrics?: Pick<Metrics, 'signing'>
  authorities: Pick<Authorities, 'root' | 'devices' | 'servers' | 'find' | 'urls'>
}

const hourMs = 3_600_000
const everyMs = 24 * hourMs
/** Several publishing intervals, so that a CRL stays good while publishing is broken (pki.md section 7). */
const outageMs = 6 * everyMs
/** A certificate that expires after its revocation still appears on one more CRL, however late that is (RFC 5280 §3.3). */
const keepExpiredMs = 2 * everyMs
const pageSize = 5_000

/** Time for another CRL though nothing was revoked; and for deltas to get another base. */
export function isAging(since: Date, now: Date): boolean {
  return now.getTime() - since.getTime() >= everyMs
}

/**
 * The next lists of an authority, signed and not stored: the whole one first, then the shards that are missing, aging or
 * changed. Each comes with a delta to the base of the list before, which says the same of all that changed since.
 *
 * @param heads the latest full lists there are
 * @throws DomainError `busy` when the authority cannot sign here
 */
export async function makeLists(
  ctx: Deps,
  authorityId: string,
  heads: readonly CrlHead[],
): Promise<CrlRow[]> {
  const now = ctx.clock.now()
  const byShard = new Map(heads.map((head) => [head.shard, head]))
  const number = Math.max(0, ...heads.map((head) => head.number)) + 1
  const issuer = signerOf(ctx.authorities, authorityId)
  // Read before the lists: a change in between is on them though the number does not say so.
  const coversRev = await readRevocationRev(ctx.db, authorityId)
  const shards = [wholeList, ...(await shardsToMake(ctx, authorityId, byShard))]
  const lasts = shards.map((shard) => byShard.get(shard)?.this_update.getTime() ?? Infinity)
  const validAfter = new Date(Math.min(now.getTime() - keepExpiredMs, ...lasts))
  const afterRev = Math.min(...heads.map((head) => head.base_rev))
  const content = await readContent(ctx, authorityId, { validAfter, afterRev })
  const rows: CrlRow[] = []
  for (const shard of shards) {
    const previous = byShard.get(shard)
    const publication = { authorityId, shard, number, coversRev, previous, now }
    rows.push(...(await makePair(ctx, issuer, publication, partOf(content, shard))))
  }
  return rows
}

async function shardsToMake(
  ctx: Deps,
  authorityId: string,
  byShard: ReadonlyMap<number, CrlHead>,
): Promise<number[]> {
  const shards = shardsOf(ctx.authorities, authorityId)
  if (shards.length === 0) return []
  const covered = shards.map((shard) => byShard.get(shard)?.covers_rev ?? 0)
  const changed = await listChangedShards(ctx.db, authorityId, Math.min(...covered))
  return shards.filter((shard) => {
    const head = byShard.get(shard)
    if (!head || isAging(head.this_update, ctx.clock.now())) return true
    return (changed.get(shard) ?? 0) > head.covers_rev
  })
}

interface Content {
  revoked: readonly RevokedEntry[]
  released: readonly ListedEntry[]
}

async function readContent(
  { db }: Deps,
  authorityId: string,
  { validAfter, afterRev }: { validAfter: Date; afterRev: number },
): Promise<Content> {
  const isFirst = !Number.isFinite(afterRev)
  const released = isFirst
    ? []
    : await readAll((after) =>
        listReleased(db, authorityId, { validAfter, afterRev, after, limit: pageSize }),
      )
  const revoked = await readAll((after) =>
    listRevoked(db, authorityId, { validAfter, after, limit: pageSize }),
  )
  // Put on hold again, or read before its release: then full list and delta both list it.
  const listed = released.length === 0 ? new Set() : new Set(revoked.map(({ id }) => id))
  return { revoked, released: released.filter(({ id }) => !listed.has(id)) }
}

async function readAll<T extends { id: string }>(
  read: (after: string | undefined) => Promise<T[]>,
): Promise<T[]> {
  const all: T[] = []
  for (;;) {
    const page = await read(all.at(-1)?.id)
    all.push(...page)
    if (page.length < pageSize) return all
  }
}

function partOf({ revoked, released }: Content, shard: number): Content {
  if (shard === wholeList) return { revoked, released }
  const isIn = (entry: ListedEntry) => entry.shard === shard
  return { revoked: revoked.filter(isIn), released: released.filter(isIn) }
}

interface Publication {
  authorityId: string
  shard: number
  number: number
  coversRev: number
  previous: CrlHead | undefined
  now: Date
}

/** The full list of a part, and the delta to its last base; the first list of all has no delta. */
async function makePair(
  { authorities: { urls }, metrics }: Deps,
  { certificate, signer }: { certificate: Certificate; signer: Signer },
  { authorityId, shard, number, coversRev, previous, now }: Publication,
  { revoked, released }: Content,
): Promise<CrlRow[]> {
  const { subject: issuerName, subjectKeyId: issuerKeyId } = certificate
  if (!issuerKeyId) throw new Error('An issuer without a subject key identifier')
  const times = crlTimes(now, { everyMs, outageMs }, previous?.this_update)
  const part = shard === wholeList ? {} : { shard }
  const input = {
    issuerName,
    issuerKeyId,
    signatureAlgorithm: signer.algorithm,
    number: BigInt(number),
    ...times,
    ...(shard === wholeList ? {} : { shard: { url: urls.crl(authorityId, part) } }),
  }
  const freshestUrl = urls.crl(authorityId, { ...part, isDelta: true })
  const sign = async (list: Parameters<typeof buildCrl>[0]) =>
    await signed(metrics, 'crl', async () => await signCrl(buildCrl(list), signer))
  const full = await sign({ ...input, revoked, freshestUrl })
  const row = {
    authority_id: authorityId,
    shard,
    number,
    covers_rev: coversRev,
    this_update: times.thisUpdate,
    next_update: times.nextUpdate,
  }
  const own = { base_number: number, base_rev: coversRev, base_at: times.thisUpdate }
  if (!previous) return [{ ...row, ...own, is_delta: false, der: full }]
  const { base_number, base_rev, base_at } = previous
  const before = { base_number, base_rev, base_at }
  const changes = {
    ...input,
    revoked: changesSince(base_rev, { revoked, released }, times.thisUpdate),
    delta: { baseNumber: BigInt(base_number) },
  }
  const delta = await sign(changes)
  const next = isAging(base_at, now) ? own : before
  return [
    { ...row, ...next, is_delta: false, der: full },
    { ...row, ...before, is_delta: true, der: delta },
  ]
}

/** A released hold is told even if the base never had it: lists between base and delta may have (RFC 5280 §5.2.4). */
function changesSince(rev: number, { revoked, released }: Content, at: Date): RevokedCertificate[] {
  const isNew = (entry: ListedEntry) => entry.rev > rev
  const removed = released
    .filter(isNew)
    .map(({ serial }) => ({ serial, revokedAt: at, reason: crlReasons.removeFromCRL }))
  return [...revoked.filter(isNew), ...removed]
}

function signerOf(
  { root, devices, servers, find }: Deps['authorities'],
  authorityId: string,
): { certificate: Certificate; signer: Signer } {
  const found = [devices, servers, root].find(({ id }) => id === authorityId) ?? find(authorityId)
  if (!found?.signer) {
    throw new DomainError('busy', 'The authority cannot sign here', { authorityId })
  }
  return { certificate: found.certificate, signer: found.signer }
}

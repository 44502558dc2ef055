import { buildCrl, type RevokedCertificate, signCrl } from '../../pki/crl/build.ts'
import type { Signer } from '../../pki/signer.ts'
import type { Certificate } from '../../pki/x509/parse.ts'
import type { Authorities } from '../authorities/authorities.ts'
import { readRevocationRev } from '../authorities/revocation-rev.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Worker } from '../workers/worker.ts'
import {
  type CrlRow,
  deleteOlderCrls,
  findLatestCrl,
  findLatestCrlHead,
  insertCrl,
  listRevoked,
  listSigningAuthorities,
} from './crl-store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'bus'> & {
  authorities: Pick<Authorities, 'root' | 'devices' | 'servers'>
}

const hourMs = 3_600_000
/** Several publishing intervals, so that a CRL stays good while publishing is broken (pki.md section 7). */
const lifetimeMs = 7 * 24 * hourMs
const republishAfterMs = 24 * hourMs
/** A certificate that expires after its revocation still appears on one more CRL, however late that is (RFC 5280 §3.3). */
const keepExpiredMs = 2 * republishAfterMs
const pageSize = 5_000
const maxAttempts = 20

/** The newest CRL of an authority; undefined before the first one. */
export async function latestCrl(db: Db, authorityId: string): Promise<CrlRow | undefined> {
  return await findLatestCrl(db, authorityId)
}

/** One publication a time and authority in this process: callers that arrive meanwhile share the next one. */
const running = new WeakMap<Db, Map<string, { current: Promise<void>; next?: Promise<void> }>>()

/**
 * Publishes a CRL that holds everything that was revoked before this call. Numbers rise by one, whoever publishes: the
 * number is taken by inserting the row.
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
  const needed = await readRevocationRev(ctx.db, authorityId)
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const head = await findLatestCrlHead(ctx.db, authorityId)
    if (head && head.covers_rev >= needed && !isAging(head, ctx.clock.now())) return
    if (await publishNext(ctx, authorityId, head)) {
      await ctx.bus.publish('crl', [authorityId])
      return
    }
    // Another process took the number; its CRL may cover what ours was to.
  }
  throw new DomainError('busy', 'The revocation list could not be published', { authorityId })
}

async function publishNext(
  ctx: Deps,
  authorityId: string,
  last: { number: number; this_update: Date } | undefined,
): Promise<boolean> {
  const number = (last?.number ?? 0) + 1
  const { certificate, signer } = signerOf(ctx.authorities, authorityId)
  const now = ctx.clock.now()
  const thisUpdate = new Date(Math.floor(now.getTime() / 1000) * 1000)
  const nextUpdate = new Date(thisUpdate.getTime() + lifetimeMs)
  // Read before the list: a revocation in between is on the list though the number does not say so.
  const coversRev = await readRevocationRev(ctx.db, authorityId)
  const validAfter = Math.min(
    now.getTime() - keepExpiredMs,
    last?.this_update.getTime() ?? Infinity,
  )
  const revoked = await readAll(ctx.db, authorityId, new Date(validAfter))
  const { subject, subjectKeyId } = certificate
  if (!subjectKeyId) throw new Error('An issuer without a subject key identifier')
  const tbs = buildCrl({
    issuerName: subject,
    issuerKeyId: subjectKeyId,
    signatureAlgorithm: signer.algorithm,
    number: BigInt(number),
    thisUpdate,
    nextUpdate,
    revoked,
  })
  const der = await signCrl(tbs, signer)
  return await inTransaction(ctx.db, async (tx) => {
    const row = {
      authority_id: authorityId,
      number,
      covers_rev: coversRev,
      der,
      this_update: thisUpdate,
      next_update: nextUpdate,
    }
    if (!(await insertCrl(tx, row))) return false
    await deleteOlderCrls(tx, authorityId, number)
    return true
  })
}

async function readAll(
  db: Db,
  authorityId: string,
  validAfter: Date,
): Promise<RevokedCertificate[]> {
  const all: RevokedCertificate[] = []
  let after: string | undefined
  for (;;) {
    const page = await listRevoked(db, authorityId, { validAfter, after, limit: pageSize })
    all.push(...page)
    after = page.at(-1)?.id
    if (page.length < pageSize) return all
  }
}

function signerOf(
  { root, devices, servers }: Deps['authorities'],
  authorityId: string,
): { certificate: Certificate; signer: Signer } {
  const found = [devices, servers, root].find(({ id }) => id === authorityId)
  if (!found?.signer) {
    throw new DomainError('busy', 'The authority cannot sign here', { authorityId })
  }
  return { certificate: found.certificate, signer: found.signer }
}

function isAging({ this_update: thisUpdate }: { this_update: Date }, now: Date): boolean {
  return now.getTime() - thisUpdate.getTime() >= republishAfterMs
}

/** Publishes every CRL that is missing, a day old, or behind the revocations of its authority. */
export async function publishDueCrls(ctx: Deps): Promise<void> {
  for (const authority of await listSigningAuthorities(ctx.db)) {
    const head = await findLatestCrlHead(ctx.db, authority.id)
    const isDue =
      !head || head.covers_rev < authority.revocation_rev || isAging(head, ctx.clock.now())
    if (isDue) await publishCrl(ctx, authority.id)
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

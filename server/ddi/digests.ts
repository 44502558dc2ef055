import { createHash } from 'node:crypto'

import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Digests } from './answers.ts'
import { findDigests, saveDigests } from './device-store.ts'

type Deps = Pick<Context, 'db' | 'storage' | 'log'>

const blockBytes = 256 * 1024
const running = new Map<string, Promise<Digests>>()

/**
 * SHA-1 and MD5 of an artifact: what these clients compare, not what anything is trusted for. Worked out once, however many devices
 * ask at the same time, in blocks.
 *
 * @param sha256 lower hex
 * @throws DomainError `busy` when the bytes are not there
 */
export async function digestsOf(ctx: Deps, sha256: string): Promise<Digests> {
  const known = await findDigests(ctx.db, sha256)
  if (known) return known
  const begun = running.get(sha256)
  if (begun) return await begun
  const work = compute(ctx, sha256).finally(() => running.delete(sha256))
  running.set(sha256, work)
  return await work
}

async function compute(ctx: Deps, sha256: string): Promise<Digests> {
  await using artifact = await ctx.storage.open(sha256)
  if (!artifact) {
    ctx.log.error({ sha256 }, 'an artifact that a device may have is not in the storage')
    throw new DomainError('busy', 'The image is not available now')
  }
  const hashes = [createHash('sha1'), createHash('md5')] as const
  const buffer = Buffer.allocUnsafe(blockBytes)
  for (let at = 0; at < artifact.size;) {
    const got = await artifact.read(buffer, at, Math.min(blockBytes, artifact.size - at))
    if (got === 0) throw new DomainError('busy', 'The image is not complete now')
    for (const hash of hashes) hash.update(buffer.subarray(0, got))
    at += got
  }
  const [sha1, md5] = hashes.map((hash) => hash.digest('hex'))
  const digests = { sha1: sha1 ?? '', md5: md5 ?? '' }
  await inTransaction(ctx.db, (tx) => saveDigests(tx, { sha256, ...digests }))
  return digests
}

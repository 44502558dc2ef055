import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import { type Artifact, insertArtifact } from './store.ts'

export interface UploadArtifact {
  name: string
  source: AsyncIterable<Buffer>
  /** Lower hex; what arrives must have it. */
  promisedSha256: string | undefined
  actor: string
  requestId?: string
}

/**
 * Stores bytes under their hash and gives their row: the same bytes again give the same row. The bytes are durable before
 * the row is, so a crash in between leaves at most a file without a row, which the next upload finds in place.
 * Throws DomainError `invalid-request` when nothing or something else than promised arrived, `too-large`, `storage-full`.
 */
export async function uploadArtifact(
  { db, clock, config, storage }: Pick<Context, 'db' | 'clock' | 'config' | 'storage'>,
  { name, source, promisedSha256, actor, requestId }: UploadArtifact,
): Promise<Artifact> {
  await using received = await storage.receive(source, { maxBytes: config.maxArtifactBytes })
  const { sha256, size } = received
  if (size === 0) throw new DomainError('invalid-request', 'The artifact is empty')
  if (promisedSha256 !== undefined && promisedSha256 !== sha256) {
    throw new DomainError('invalid-request', 'The bytes are not those that Repr-Digest promises', {
      promisedSha256,
      sha256,
    })
  }
  await received.keep()
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const { artifact, isNew } = await insertArtifact(tx, {
      id: newId(now),
      sha256,
      size,
      name,
      created_by: actor,
      created_at: now,
    })
    if (isNew) {
      await recordAudit(tx, {
        at: now,
        actor,
        action: 'artifact.create',
        subject: artifact.id,
        facts: { name, sha256, size },
        ...(requestId ? { requestId } : {}),
      })
    }
    return artifact
  })
}

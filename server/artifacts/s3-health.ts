import { randomUUID } from 'node:crypto'

import { failureOf, type S3Bucket } from './s3-bucket.ts'
import type { RemoteFault, RemoteState } from './storage.ts'

/** How long what the last request found is taken for true. */
const freshMs = 5_000

/** Writes, reads and removes an object, which is all that keys must allow. Undefined: all of it was done. */
export async function probeBucket(bucket: S3Bucket): Promise<RemoteFault | undefined> {
  const key = `${bucket.prefix}incoming/probe-${randomUUID()}`
  const bytes = Buffer.from('fleetseal')
  let step: RemoteFault['step'] = 'write'
  try {
    await bucket.put(key, bytes)
    step = 'read'
    await bucket.read(key, 0, bytes.length)
    step = 'remove'
    await bucket.remove(key)
    return undefined
  } catch (error) {
    // What it left is removed with what uploads leave.
    if (step === 'read') await bucket.remove(key).catch(() => {})
    const failure = failureOf(error)
    return { step, status: failure?.status, why: failure?.message ?? '?', region: failure?.region }
  }
}

/**
 * What requests found last, at once. When there was none for a while, the bucket is asked for something that it does not
 * have, and the next caller gets what came of it: nobody waits for a store that does not answer, and it is never asked twice at once.
 */
export function watchBucket(bucket: S3Bucket): () => RemoteState {
  let isLooking = false
  const look = async () => {
    isLooking = true
    try {
      await bucket.size(`${bucket.prefix}incoming/health`)
    } catch {
      // The bucket remembers it.
    } finally {
      isLooking = false
    }
  }
  return () => {
    if (!isLooking && bucket.quietMs >= freshMs) void look()
    return bucket.isFailing ? 'degraded' : 'ok'
  }
}

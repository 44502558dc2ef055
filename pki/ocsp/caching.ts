import { createHash } from 'node:crypto'

import type { OcspAnswer } from './answer.ts'

/**
 * Header fields for an answer to a GET (RFC 5019 §6.2, RFC 9111): kept until the next update, to the second, and not at all
 * when it is an error, has a nonce or has run out.
 */
export function ocspCacheHeaders({ der, validity }: OcspAnswer, now: Date): Record<string, string> {
  // Whole seconds as the answer has them, and rounded so that no cache keeps it too long.
  const endSeconds = Math.floor((validity?.nextUpdate.getTime() ?? 0) / 1000)
  const maxAgeSeconds = endSeconds - Math.ceil(now.getTime() / 1000)
  if (!validity || maxAgeSeconds <= 0) return { 'cache-control': 'no-store' }
  return {
    'cache-control': `max-age=${maxAgeSeconds}, public, no-transform, must-revalidate`,
    etag: `"${createHash('sha256').update(der).digest('hex')}"`,
    expires: validity.nextUpdate.toUTCString(),
    'last-modified': validity.thisUpdate.toUTCString(),
  }
}

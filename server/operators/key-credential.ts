import { timingSafeEqual } from 'node:crypto'

import { toGrants } from '../access/grants.ts'
import type { Context } from '../context.ts'
import { apiKeyPattern, hashApiKey } from './admin-key.ts'
import type { Credential, Refused } from './credential.ts'
import { type ApiKey, findApiKeyByHash, touchApiKey } from './store.ts'
import { voiceOf } from './voice.ts'

/** A bearer API key (RFC 6750 §2.1); undefined for what does not look like one. */
export function keyCredential({ db }: Pick<Context, 'db'>, token: string): Credential | undefined {
  if (!apiKeyPattern.test(token)) return undefined
  const hash = hashApiKey(token)
  return {
    name: hash.toString('hex'),
    lookUp: async (now) => {
      const key = await findApiKeyByHash(db, hash)
      const refusal = refusalOf(key, hash, now)
      if (key === undefined || refusal !== undefined) return refused(refusal ?? 'unknown-key', key)
      const id = `key:${key.id}`
      return {
        actor: {
          id,
          voice: voiceOf(id, key),
          name: key.name,
          grants: toGrants(key.grants),
        },
        lastUsedAt: key.last_used_at,
        touch: (tx, times) => touchApiKey(tx, key.id, times),
      }
    },
  }
}

type KeyRefusal = 'unknown-key' | 'revoked-key' | 'expired-key' | 'rotated-key' | 'disabled-owner'

function refusalOf(key: ApiKey | undefined, hash: Buffer, now: Date): KeyRefusal | undefined {
  // The index found it by the same bytes; the comparison that decides does not depend on how an index compares.
  const isCurrent = key !== undefined && timingSafeEqual(key.secret_hash, hash)
  const isPrevious = key?.previous_hash != null && timingSafeEqual(key.previous_hash, hash)
  if (!key || !(isCurrent || isPrevious)) return 'unknown-key'
  if (key.revoked_at) return 'revoked-key'
  if (key.expires_at && key.expires_at <= now) return 'expired-key'
  if (!isCurrent && (key.overlap_ends_at === null || key.overlap_ends_at <= now)) {
    return 'rotated-key'
  }
  return key.owner_state === 'disabled' ? 'disabled-owner' : undefined
}

function refused(refusal: KeyRefusal, key: ApiKey | undefined): Refused {
  const facts = key ? { keyId: key.id, name: key.name } : {}
  return { refusal, kind: 'api-key-refused', facts, isGuess: true }
}

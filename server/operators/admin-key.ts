import { createHash, hkdfSync, randomBytes } from 'node:crypto'

import { setGrants } from '../access/grant-service.ts'
import type { Consent } from '../approvals/agreed.ts'
import type { Tx } from '../db/client.ts'

/** `fs_` and 32 bytes in base64url: 256 bits, so that the hash needs neither salt nor stretching. */
export const apiKeyPattern = /^fs_[A-Za-z0-9_-]{43}$/

/** What a key is made of. Only `prefix` and `hash` are ever stored. */
export interface ApiKeySecret {
  /** The whole key, 46 characters. Shown once. */
  secret: string
  /** Its first 11 characters, to recognise it in a list. */
  prefix: string
  /** SHA-256 of the whole key, 32 bytes. */
  hash: Buffer
}

/** A new random API key. */
export function newApiKeySecret(): ApiKeySecret {
  return apiKeySecretFrom(randomBytes(32))
}

/**
 * The key that belongs to an id, by HKDF-SHA-256 (RFC 5869) from the key-encryption key: a repeated POST with the same
 * `Idempotency-Key` answers the same secret although it is stored nowhere.
 */
export function derivedApiKeySecret(kek: Buffer, id: string, rotationId = ''): ApiKeySecret {
  return apiKeySecretFrom(
    Buffer.from(hkdfSync('sha256', kek, '', `fleetseal api key ${id}${rotationId}`, 32)),
  )
}

function apiKeySecretFrom(bytes: Buffer): ApiKeySecret {
  const secret = `fs_${bytes.toString('base64url')}`
  return { secret, prefix: secret.slice(0, 11), hash: hashApiKey(secret) }
}

/** SHA-256 of a key as a caller sends it, 32 bytes. */
export function hashApiKey(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}

export interface NewApiKey {
  id: string
  name: string
  role: string
  /** Only for devices that are in all of these groups. */
  groupIds?: readonly string[] | undefined
  /** Of others, by policy. */
  consent?: Consent | undefined
  prefix: string
  hash: Buffer
  /** Who speaks with it: an actor, or `system` for the key of the first start. */
  createdBy: string
  /** For the audit log, when it was made by means of something else that speaks for the same person. */
  actor?: string | undefined
  createdAt: Date
  expiresAt?: Date | undefined
  ownerId?: string | undefined
}

/** Stores a key with its rights, unless its id is there already. Returns whether it was stored now; the caller records the audit row. */
export async function insertApiKey(tx: Tx, key: NewApiKey): Promise<boolean> {
  const inserted = await tx
    .insertInto('api_key')
    .values({
      id: key.id,
      name: key.name,
      role: key.role,
      prefix: key.prefix,
      secret_hash: key.hash,
      created_by: key.createdBy,
      created_at: key.createdAt,
      expires_at: key.expiresAt ?? null,
      last_used_at: null,
      revoked_at: null,
      owner_id: key.ownerId ?? null,
    })
    .onConflict((oc) => oc.column('id').doNothing())
    .returning('id')
    .executeTakeFirst()
  if (inserted === undefined) return false
  const { role, groupIds = [], actor = key.createdBy, createdAt: at, consent } = key
  await setGrants(tx, `key:${key.id}`, [{ role, groupIds }], { actor, at, consent })
  return true
}

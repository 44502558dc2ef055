import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { derivedApiKeySecret, insertApiKey } from './admin-key.ts'
import { type ApiKey, getApiKey, lockActiveAdminKeys, markRevoked } from './store.ts'

interface By {
  actor: string
  requestId?: string
}

export interface CreateApiKey extends By {
  id: string
  name: string
  role: ApiKey['role']
  expiresAt?: Date | undefined
}

/** Makes an API key. The same id again answers the same key and secret and records nothing twice. */
export async function createApiKey(
  { db, clock, kek }: Pick<Context, 'db' | 'clock' | 'kek'>,
  command: CreateApiKey,
): Promise<{ key: ApiKey; secret: string }> {
  const { id, name, role, expiresAt, actor, requestId } = command
  const now = clock.now()
  if (expiresAt && expiresAt <= now) {
    throw new DomainError('invalid-request', 'expiresAt must lie in the future', {
      at: 'expiresAt',
    })
  }
  const { secret, prefix, hash } = derivedApiKeySecret(kek, id)
  const key = await inTransaction(db, async (tx) => {
    const isNew = await insertApiKey(tx, {
      id,
      name,
      role,
      prefix,
      hash,
      createdBy: actor,
      createdAt: now,
      expiresAt,
    })
    if (isNew) {
      await recordAudit(tx, {
        at: now,
        actor,
        action: 'api-key.create',
        subject: id,
        facts: { name, role, prefix, expiresAt: expiresAt?.toISOString() ?? null },
        ...(requestId ? { requestId } : {}),
      })
    }
    return await getApiKey(tx, id)
  })
  if (!key.secret_hash.equals(hash)) {
    throw new DomainError(
      'conflict',
      'The secret of this key cannot be shown again, because the key-encryption key was changed since: revoke it and make another',
      { apiKeyId: id },
    )
  }
  return { key, secret }
}

/** Revokes a key from the next request on. Refuses the last admin key that is still valid. */
export async function revokeApiKey(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { id, actor, requestId }: By & { id: string },
): Promise<void> {
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    const admins = await lockActiveAdminKeys(tx, now)
    const key = await getApiKey(tx, id)
    if (admins.length === 1 && admins[0] === id) {
      throw new DomainError(
        'conflict',
        'This is the last admin key: make another one first, or nobody could manage keys any more',
        { keyId: id },
      )
    }
    if (!(await markRevoked(tx, id, now))) return
    await recordAudit(tx, {
      at: now,
      actor,
      action: 'api-key.revoke',
      subject: id,
      facts: { name: key.name, role: key.role, prefix: key.prefix },
      ...(requestId ? { requestId } : {}),
    })
  })
}

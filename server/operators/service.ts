import { assertAdministratorLeft, lockAccess, mustHoldGiven } from '../access/grant-service.ts'
import type { Consent } from '../approvals/agreed.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Actor } from '../http/access.ts'
import { mustBeActive } from '../people/service.ts'
import { derivedApiKeySecret, insertApiKey } from './admin-key.ts'
import { type ApiKey, getApiKey, markRevoked } from './store.ts'
import { makerOf } from './voice.ts'

interface By {
  actor: string
  requestId?: string
}

export interface CreateApiKey {
  id: string
  name: string
  role: string
  groupIds: readonly string[]
  by: Actor
  /** Of others, by policy. */
  consent?: Consent
  expiresAt?: Date | undefined
  ownerId?: string | undefined
}

/**
 * Makes an API key. The same id again answers the same key and secret and records nothing twice.
 *
 * @throws DomainError `not-allowed` for a role that its maker does not have himself; `invalid-request`
 */
export async function createApiKey(
  { db, clock, kek }: Pick<Context, 'db' | 'clock' | 'kek'>,
  command: CreateApiKey,
): Promise<{ key: ApiKey; secret: string }> {
  const { id, name, role, groupIds, ownerId, expiresAt, by, consent } = command
  const now = clock.now()
  if (expiresAt && expiresAt <= now) {
    throw new DomainError('invalid-request', 'expiresAt must lie in the future', {
      at: 'expiresAt',
    })
  }
  const { secret, prefix, hash } = derivedApiKeySecret(kek, id)
  const key = await inTransaction(db, async (tx) => {
    await mustHoldGiven(tx, by, [{ role, groupIds }])
    if (ownerId !== undefined) await mustBeActive(tx, ownerId)
    const isNew = await insertApiKey(tx, {
      id,
      name,
      role,
      groupIds,
      prefix,
      hash,
      createdBy: makerOf(by),
      actor: by.id,
      createdAt: now,
      expiresAt,
      ownerId,
      consent,
    })
    if (isNew) {
      await recordAudit(tx, {
        at: now,
        actor: by.id,
        action: 'api-key.create',
        subject: id,
        facts: {
          name,
          role,
          groupIds,
          prefix,
          expiresAt: expiresAt?.toISOString() ?? null,
          ownerId: ownerId ?? null,
        },
        requestId: by.requestId,
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

/** Revokes a key from the next request on. Refuses that of the last administrator. */
export async function revokeApiKey(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { id, actor, requestId }: By & { id: string },
): Promise<void> {
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    await lockAccess(tx)
    const key = await getApiKey(tx, id)
    if (!(await markRevoked(tx, id, now))) return
    await assertAdministratorLeft(tx, now)
    await recordAudit(tx, {
      at: now,
      actor,
      action: 'api-key.revoke',
      subject: id,
      facts: {
        name: key.name,
        prefix: key.prefix,
        grants: key.grants.map(({ role, groups }) => ({ role, groupIds: groups })),
      },
      ...(requestId ? { requestId } : {}),
    })
  })
}

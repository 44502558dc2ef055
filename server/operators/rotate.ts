import { mustHold } from '../access/escalation.ts'
import { toGrants } from '../access/grants.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Actor } from '../http/access.ts'
import { derivedApiKeySecret } from './admin-key.ts'
import { type ApiKey, getApiKey, rotateSecret } from './store.ts'
import { makerOf, voiceOf } from './voice.ts'

export interface RotateApiKey {
  id: string
  /** The same again answers the same secret and changes nothing. */
  rotationId: string
  overlapHours: number
  by: Actor
}

/**
 * Makes a key's secret anew. The present one works on for the overlap, so that its users can be told one after the other; the one before that ends now.
 * Name, rights and owner stay. A key that spoke for nobody but itself speaks from now on for whoever sees its new secret.
 *
 * @throws DomainError `not-found`; `conflict` for a revoked key, or one that has ended; `not-allowed` for a key that may do what the caller may not, or that speaks for
 * another person
 */
export async function rotateApiKey(
  { db, clock, kek }: Pick<Context, 'db' | 'clock' | 'kek'>,
  { id, rotationId, overlapHours, by }: RotateApiKey,
): Promise<{ key: ApiKey; secret: string }> {
  const now = clock.now()
  const { secret, prefix, hash } = derivedApiKeySecret(kek, id, rotationId)
  const overlapEndsAt = new Date(now.getTime() + overlapHours * 3_600_000)
  const key = await inTransaction(db, async (tx) => {
    const before = await getApiKey(tx, id)
    mustBeOpen(before, now)
    mustHold(by, toGrants(before.grants))
    mustBeOwn(before, by)
    if (isOlder(rotationId, before.rotation_id)) throw replacedSince(id)
    const maker = speaksForItself(before) ? makerOf(by) : before.created_by
    const next = { hash, prefix, rotationId, maker, now, overlapEndsAt }
    if (await rotateSecret(tx, id, next)) {
      await recordAudit(tx, {
        at: now,
        actor: by.id,
        action: 'api-key.rotate',
        subject: id,
        facts: {
          name: before.name,
          from: before.prefix,
          to: prefix,
          overlapEndsAt: overlapEndsAt.toISOString(),
        },
        requestId: by.requestId,
      })
    }
    return await getApiKey(tx, id)
  })
  if (key.secret_hash.equals(hash)) return { key, secret }
  throw replacedSince(id)
}

/** A request that is repeated after another rotation must not bring its secret back. Ids begin with their time (RFC 9562 §5.7). */
function isOlder(rotationId: string, present: string | null): boolean {
  const timeOf = (id: string) => id.slice(0, 13)
  return present !== null && timeOf(rotationId) < timeOf(present)
}

function replacedSince(keyId: string): DomainError {
  const message = 'This secret was replaced since: rotate the key again'
  return new DomainError('conflict', message, { keyId })
}

function mustBeOpen(key: ApiKey, now: Date): void {
  if (!key.revoked_at && !(key.expires_at && key.expires_at <= now)) return
  const message = 'This key is revoked or has ended: make another one'
  throw new DomainError('conflict', message, { keyId: key.id })
}

/** Whoever sees the secret could speak for somebody else where two people have to agree. */
function mustBeOwn(key: ApiKey, by: Actor): void {
  if (speaksForItself(key) || voiceOf(`key:${key.id}`, key) === by.voice) return
  throw new DomainError(
    'not-allowed',
    'This key speaks for another person, who alone may have its new secret: revoke it and make another one',
    { keyId: key.id },
  )
}

function speaksForItself(key: ApiKey): boolean {
  const id = `key:${key.id}`
  return voiceOf(id, key) === id
}

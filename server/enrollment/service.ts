import { hkdfSync } from 'node:crypto'
import { createHash } from 'node:crypto'

import { recordAudit } from '../audit/audit.ts'
import { assertKek } from '../authorities/kek-check.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { assertTakesMembers } from '../groups/service.ts'
import type { Reach } from '../protocol/reach.ts'
import { newProfile } from './new-profile.ts'
import type { ProfileAction } from './state.ts'
import {
  expireToken,
  findProfile,
  findToken,
  getProfile,
  insertProfile,
  insertToken,
  type Profile,
  setPaused,
  type Token,
} from './store.ts'
import type { NewProfileBody } from './wire.ts'

interface By {
  actor: string
  requestId: string
}

/**
 * Makes a profile. The same id again answers the profile that was made.
 *
 * @throws DomainError `invalid-request` for rules that do not fit together, `conflict` for a name that is taken
 */
export async function createProfile(
  { db, clock, kek, config }: Pick<Context, 'db' | 'clock' | 'kek' | 'config'>,
  command: By & { id: string; body: NewProfileBody; reach: Reach },
): Promise<Profile> {
  const { id, body, reach, actor, requestId } = command
  const now = clock.now()
  const rules = newProfile(id, body, { now, kek, privateWebhooks: config.privateWebhooks })
  const row = { ...rules, limited: reach !== 'fleet' }
  return await inTransaction(db, async (tx) => {
    if (row.webhook_secret) await assertKek(tx, kek)
    await assertTakesMembers(tx, body.groupId)
    if (await insertProfile(tx, row)) {
      const { name, groupId, registration, idPattern, quota } = body
      const { auth_type: auth, anchor_subjects: anchors, approval, replaceable } = row
      const webhook = row.webhook_url
      const { source_networks: networks, quota_per_hour: perHour } = row
      const more = { auth, anchors, approval, replaceable, webhook, networks, perHour }
      const facts = { name, groupId, registration, idPattern, quota, ...more }
      const action = 'enrollment-profile.create'
      await recordAudit(tx, { at: now, actor, action, subject: id, facts, requestId })
    }
    const profile = await findProfile(tx, { id })
    if (profile) return profile
    throw new DomainError('conflict', `There is an enrollment profile ${body.name} already`, {
      name: body.name,
    })
  })
}

/**
 * Pauses a profile, whatever way in, or resumes it. Doing it again changes nothing. Certificates that were issued are not touched.
 *
 * @throws DomainError `not-found`
 */
export async function actOnProfile(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  command: By & { profileId: string; action: ProfileAction; reason?: string | undefined },
): Promise<Profile> {
  const { profileId, action, reason, actor, requestId } = command
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const profile = await getProfile(tx, profileId)
    if (await setPaused(tx, profileId, action === 'pause' ? now : null)) {
      const facts = { name: profile.name, reason }
      const entry = { at: now, actor, subject: profileId, facts, requestId }
      await recordAudit(tx, { ...entry, action: `enrollment-profile.${action}` })
    }
    return await getProfile(tx, profileId)
  })
}

/** `fse_` and 32 bytes in base64url. */
export const tokenPattern = /^fse_[A-Za-z0-9_-]{43}$/

/** SHA-256 of a token as a device sends it: 256 random bits need neither salt nor stretching. */
export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

/** Derived from the key-encryption key, so that a repeated request answers the same token although it is stored nowhere. */
function tokenFor(kek: Buffer, id: string): string {
  const bytes = Buffer.from(hkdfSync('sha256', kek, '', `fleetseal enrollment token ${id}`, 32))
  return `fse_${bytes.toString('base64url')}`
}

export interface NewToken {
  id: string
  profileId: string
  maxUses: number | undefined
  expiresAt: Date | undefined
  /** Limited to groups, the caller makes one that takes no device of others. */
  reach: Reach
}

/** Makes a token of a profile. Its secret is returned here and never again, except to the same request. */
export async function createToken(
  { db, clock, kek }: Pick<Context, 'db' | 'clock' | 'kek'>,
  command: By & NewToken,
): Promise<{ row: Token; token: string }> {
  const { id, profileId, maxUses, expiresAt, reach, actor, requestId } = command
  const now = clock.now()
  const token = tokenFor(kek, id)
  const row = await inTransaction(db, async (tx) => {
    const profile = await getProfile(tx, profileId)
    if (profile.auth_type !== 'token') {
      throw new DomainError(
        'conflict',
        `Devices enroll in ${profile.name} by certificate: make a profile with auth.type "token"`,
      )
    }
    const isNew = await insertToken(tx, {
      id,
      profile_id: profileId,
      secret_hash: hashToken(token),
      max_uses: maxUses ?? null,
      uses: 0,
      expires_at: expiresAt ?? null,
      kind: 'token',
      certificate: null,
      identity: null,
      limited: reach !== 'fleet',
      created_by: actor,
      created_at: now,
    })
    if (isNew) {
      const facts = { profileId, maxUses, expiresAt: expiresAt?.toISOString() }
      const action = 'enrollment-token.create'
      await recordAudit(tx, { at: now, actor, action, subject: id, facts, requestId })
    }
    return await findToken(tx, id)
  })
  if (!row) throw new DomainError('conflict', 'The token could not be made: try again')
  if (!row.secret_hash.equals(hashToken(token))) {
    throw new DomainError(
      'conflict',
      'The token was made before the key-encryption key changed: make another',
    )
  }
  return { row, token }
}

/** Ends a token. Ending it again changes nothing. Certificates that were issued with it stay. */
export async function endToken(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { profileId, tokenId, actor, requestId }: By & { profileId: string; tokenId: string },
): Promise<void> {
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    const token = await findToken(tx, tokenId)
    if (token?.profile_id !== profileId) {
      throw new DomainError('not-found', 'No such token', { tokenId })
    }
    if (!(await expireToken(tx, { profileId, tokenId, now }))) return
    const action = 'enrollment-token.end'
    await recordAudit(tx, {
      at: now,
      actor,
      action,
      subject: tokenId,
      facts: { profileId },
      requestId,
    })
  })
}

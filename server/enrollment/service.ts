import { hkdfSync } from 'node:crypto'
import { createHash } from 'node:crypto'

import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { compileIdPattern } from './id-pattern.ts'
import { keyAlgorithms } from './state.ts'
import {
  expireToken,
  findProfile,
  findToken,
  getProfile,
  groupExists,
  insertProfile,
  insertToken,
  type Profile,
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
 * @throws DomainError `invalid-request` for what this version does not offer, `conflict` for a name that is taken
 */
export async function createProfile(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  command: By & { id: string; body: NewProfileBody },
): Promise<Profile> {
  const { id, body, actor, requestId } = command
  refuseUnavailable(body)
  if (body.idPattern !== undefined) compileIdPattern(body.idPattern)
  const now = clock.now()
  const row = rowOf(id, body, now)
  return await inTransaction(db, async (tx) => {
    if (!(await groupExists(tx, body.groupId))) {
      throw new DomainError('not-found', 'No such group', { groupId: body.groupId })
    }
    if (await insertProfile(tx, row)) {
      const { name, groupId, registration, idPattern, quota } = body
      const facts = { name, groupId, registration, idPattern, quota }
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

function rowOf(id: string, body: NewProfileBody, now: Date): Profile {
  return {
    id,
    name: body.name,
    group_id: body.groupId,
    auth_type: body.auth.type,
    registration: body.registration,
    id_pattern: body.idPattern ?? null,
    quota: body.quota ?? null,
    used: 0,
    valid_from: body.validFrom ?? null,
    valid_until: body.validUntil ?? null,
    key_policy: [...new Set(body.keyPolicy ?? keyAlgorithms)],
    certificate_days: body.certificateDays,
    created_at: now,
  }
}

/** Known fields with values that are not built yet: silence would let an operator believe in a check that is not made. */
function refuseUnavailable({ auth, approval, validFrom, validUntil }: NewProfileBody): void {
  const refused = (at: string, why: string) =>
    new DomainError('invalid-request', `${at} ${why}`, { issues: [{ at, message: why }] })
  if (auth.type !== 'token') {
    throw refused('auth.type', `"${auth.type}" is not available in this version: use "token"`)
  }
  if (auth.trustAnchors !== undefined) {
    throw refused('auth.trustAnchors', 'is not available in this version')
  }
  if (approval === 'manual') {
    throw refused('approval', '"manual" is not available in this version: use "none"')
  }
  if (validFrom && validUntil && validFrom >= validUntil) {
    throw refused('validUntil', 'must be after validFrom')
  }
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
}

/** Makes a token of a profile. Its secret is returned here and never again, except to the same request. */
export async function createToken(
  { db, clock, kek }: Pick<Context, 'db' | 'clock' | 'kek'>,
  command: By & NewToken,
): Promise<{ row: Token; token: string }> {
  const { id, profileId, maxUses, expiresAt, actor, requestId } = command
  const now = clock.now()
  const token = tokenFor(kek, id)
  const row = await inTransaction(db, async (tx) => {
    await getProfile(tx, profileId)
    const isNew = await insertToken(tx, {
      id,
      profile_id: profileId,
      secret_hash: hashToken(token),
      max_uses: maxUses ?? null,
      uses: 0,
      expires_at: expiresAt ?? null,
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

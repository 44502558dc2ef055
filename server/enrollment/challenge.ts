import { hkdfSync, timingSafeEqual } from 'node:crypto'

import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db, Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Reach } from '../protocol/reach.ts'
import { hashToken } from './service.ts'
import {
  findProfile,
  findToken,
  findTokenByHash,
  getProfile,
  insertToken,
  listTokens,
  lockProfile,
  type Profile,
  type Token,
} from './store.ts'

export type { Profile, Token } from './store.ts'

/** 128 random bits: letters and digits that any device's console, and PrintableString, can hold. */
const challengePattern = /^[0-9a-f]{32}$/

/** Derived from the key-encryption key, so that a repeated request answers the same challenge although it is stored nowhere. */
function challengeFor(kek: Buffer, id: string): string {
  const bytes = hkdfSync('sha256', kek, '', `fleetseal enrollment challenge ${id}`, 16)
  return Buffer.from(bytes).toString('hex')
}

export interface NewChallenge {
  id: string
  profileId: string
  serialNumber: string
  expiresAt: Date
  reach: Reach
  actor: string
  requestId: string
}

/**
 * Makes a challenge that lets one device enroll once. It is returned here and never again, except to the same request.
 *
 * @throws DomainError `not-found`
 */
export async function createChallenge(
  { db, clock, kek }: Pick<Context, 'db' | 'clock' | 'kek'>,
  command: NewChallenge,
): Promise<{ row: Token; challenge: string }> {
  const { id, profileId, serialNumber, expiresAt, reach, actor, requestId } = command
  const now = clock.now()
  const challenge = challengeFor(kek, id)
  const row = await inTransaction(db, async (tx) => {
    await getProfile(tx, profileId)
    const isNew = await insertToken(tx, {
      id,
      profile_id: profileId,
      secret_hash: hashToken(challenge),
      max_uses: 1,
      uses: 0,
      expires_at: expiresAt,
      kind: 'challenge',
      certificate: null,
      identity: serialNumber,
      limited: reach !== 'fleet',
      created_by: actor,
      created_at: now,
    })
    if (isNew) {
      const facts = { profileId, serialNumber, expiresAt: expiresAt.toISOString() }
      const action = 'enrollment-challenge.create'
      await recordAudit(tx, { at: now, actor, action, subject: id, facts, requestId })
    }
    return await findToken(tx, id)
  })
  if (!row) throw new DomainError('conflict', 'The challenge could not be made: try again')
  return { row, challenge }
}

/** Challenges of a profile, newest first. */
export async function listChallenges(
  db: Db,
  profileId: string,
  page: { before: string | undefined; limit: number },
): Promise<Token[]> {
  await getProfile(db, profileId)
  return await listTokens(db, { profileId, kinds: ['challenge'] }, page)
}

/** The challenge somebody presents, if it is one of this profile; expiry and use are for `enroll` to judge. */
export async function findChallenge(
  db: Db,
  profileId: string,
  presented: string | undefined,
): Promise<Token | undefined> {
  if (presented === undefined || !challengePattern.test(presented)) return undefined
  const hash = hashToken(presented)
  const token = await findTokenByHash(db, hash)
  // The index found it by the same bytes; the comparison that decides does not depend on how an index compares.
  if (token?.kind !== 'challenge' || !timingSafeEqual(token.secret_hash, hash)) return undefined
  return token.profile_id === profileId ? token : undefined
}

/** A challenge that was presented before, for CertPoll. */
export async function findChallengeById(db: Db, id: string): Promise<Token | undefined> {
  const token = await findToken(db, id)
  return token?.kind === 'challenge' ? token : undefined
}

export async function findProfileByName(db: Db, name: string): Promise<Profile | undefined> {
  return await findProfile(db, { name })
}

export async function getProfileById(db: Db, id: string): Promise<Profile> {
  return await getProfile(db, id)
}

/** For changes of its policies: one at a time. @throws DomainError `not-found` */
export async function lockProfileById(tx: Tx, id: string): Promise<Profile> {
  await lockProfile(tx, id)
  return await getProfile(tx, id)
}

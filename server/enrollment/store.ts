import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { groupCovered } from '../db/reach.ts'
import type { EnrollmentProfileTable, EnrollmentTokenTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { Reach } from '../protocol/reach.ts'
import { hourMs } from './state.ts'

export type Profile = Selectable<EnrollmentProfileTable>
export type Token = Selectable<EnrollmentTokenTable>

/** Returns false when the id or the name is taken. */
export async function insertProfile(tx: Tx, row: Omit<Profile, 'version'>): Promise<boolean> {
  const inserted = await tx
    .insertInto('enrollment_profile')
    .values(row)
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

export async function findProfile(
  db: Db,
  by: { id: string } | { name: string },
): Promise<Profile | undefined> {
  const query = db.selectFrom('enrollment_profile').selectAll()
  return await (
    'id' in by ? query.where('id', '=', by.id) : query.where('name', '=', by.name)
  ).executeTakeFirst()
}

/**
 * Profiles that take certificates of one of these issuers, at most 20; of one name when it is given. Whoever is limited to groups makes profiles that have to be
 * named: his must not stand in the way of others that take the same certificates.
 */
export async function findProfilesByAnchor(
  db: Db,
  { issuers, name }: { issuers: readonly string[]; name: string | undefined },
): Promise<Profile[]> {
  if (issuers.length === 0) return []
  let query = db
    .selectFrom('enrollment_profile')
    .selectAll()
    .where('auth_type', '=', 'certificate')
    .where(sql<boolean>`anchor_subjects && ${[...issuers]}::text[]`)
  query = name === undefined ? query.where('limited', '=', false) : query.where('name', '=', name)
  return await query.orderBy('id').limit(20).execute()
}

/** Returns false when it was like this already. */
export async function saveIssuerSeries(
  tx: Tx,
  profileId: string,
  series: string | null,
): Promise<boolean> {
  const changed = await tx
    .updateTable('enrollment_profile')
    .set({ issuer_series: series })
    .where('id', '=', profileId)
    .where('issuer_series', 'is distinct from', series)
    .returning('id')
    .executeTakeFirst()
  return changed !== undefined
}

export async function getProfile(db: Db, id: string): Promise<Profile> {
  const row = await findProfile(db, { id })
  if (!row) throw new DomainError('not-found', 'No such enrollment profile', { profileId: id })
  return row
}

/** Who changes its policies takes turns, also while there is none yet. Devices enroll meanwhile, up to where they are counted. */
export async function lockProfile(tx: Tx, id: string): Promise<void> {
  await tx
    .selectFrom('enrollment_profile')
    .select('id')
    .where('id', '=', id)
    .forNoKeyUpdate()
    .execute()
}

/** Newest first. `before` is the id of the last one seen. */
export async function listProfiles(
  db: Db,
  { reach, before, limit }: { reach: Reach; before: string | undefined; limit: number },
): Promise<Profile[]> {
  let query = db
    .selectFrom('enrollment_profile')
    .selectAll()
    .where(groupCovered('enrollment_profile.group_id', reach))
  if (before !== undefined) query = query.where('id', '<', before)
  return await query.orderBy('id', 'desc').limit(limit).execute()
}

/** Returns false when the id is taken. */
export async function insertToken(tx: Tx, row: Token): Promise<boolean> {
  const inserted = await tx
    .insertInto('enrollment_token')
    .values(row)
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

export async function findToken(db: Db, id: string): Promise<Token | undefined> {
  return await db.selectFrom('enrollment_token').selectAll().where('id', '=', id).executeTakeFirst()
}

export async function findTokenByHash(db: Db, hash: Buffer): Promise<Token | undefined> {
  return await db
    .selectFrom('enrollment_token')
    .selectAll()
    .where('secret_hash', '=', hash)
    .executeTakeFirst()
}

/** Newest first. `before` is the id of the last one seen. */
export async function listTokens(
  db: Db,
  { profileId, kinds }: { profileId: string; kinds: readonly Token['kind'][] },
  { before, limit }: { before: string | undefined; limit: number },
): Promise<Token[]> {
  let query = db
    .selectFrom('enrollment_token')
    .selectAll()
    .where('profile_id', '=', profileId)
    .where('kind', 'in', [...kinds])
  if (before !== undefined) query = query.where('id', '<', before)
  return await query.orderBy('id', 'desc').limit(limit).execute()
}

/** From `now` on it opens nothing. Returns false when it had expired before, or does not exist. */
export async function expireToken(
  tx: Tx,
  { profileId, tokenId, now }: { profileId: string; tokenId: string; now: Date },
): Promise<boolean> {
  const row = await tx
    .updateTable('enrollment_token')
    .set({ expires_at: now })
    .where('id', '=', tokenId)
    .where('profile_id', '=', profileId)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Waits for others who use the same token: the same request twice at once is then seen to be the same. */
export async function lockToken(tx: Tx, tokenId: string): Promise<Token | undefined> {
  return await tx
    .selectFrom('enrollment_token')
    .selectAll()
    .where('id', '=', tokenId)
    .forUpdate()
    .executeTakeFirst()
}

/** Takes one use, only if there is one to take. */
export async function takeUse(tx: Tx, tokenId: string, now: Date): Promise<boolean> {
  const row = await tx
    .updateTable('enrollment_token')
    .set((eb) => ({ uses: eb('uses', '+', 1) }))
    .where('id', '=', tokenId)
    .where((eb) => eb.or([eb('max_uses', 'is', null), eb('uses', '<', eb.ref('max_uses'))]))
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Takes one of the profile's quota and of its hour, only while the profile is open and something is left. */
export async function takeQuota(tx: Tx, profileId: string, now: Date): Promise<boolean> {
  const hourAgo = new Date(now.getTime() - hourMs)
  const isOver = sql<boolean>`(hour_began_at is null or hour_began_at <= ${hourAgo})`
  const row = await tx
    .updateTable('enrollment_profile')
    .set((eb) => ({
      used: eb('used', '+', 1),
      hour_used: sql<number>`case when ${isOver} then 1 else hour_used + 1 end`,
      hour_began_at: sql<Date>`case when ${isOver} then ${now} else hour_began_at end`,
    }))
    .where('id', '=', profileId)
    .where('paused_at', 'is', null)
    .where((eb) => eb.or([eb('quota', 'is', null), eb('used', '<', eb.ref('quota'))]))
    .where((eb) =>
      eb.or([
        eb('quota_per_hour', 'is', null),
        isOver,
        eb('hour_used', '<', eb.ref('quota_per_hour')),
      ]),
    )
    .where((eb) => eb.or([eb('valid_from', 'is', null), eb('valid_from', '<=', now)]))
    .where((eb) => eb.or([eb('valid_until', 'is', null), eb('valid_until', '>', now)]))
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Returns false when it was so before. */
export async function setPaused(tx: Tx, profileId: string, at: Date | null): Promise<boolean> {
  const row = await tx
    .updateTable('enrollment_profile')
    .set({ paused_at: at })
    .where('id', '=', profileId)
    .where('paused_at', at ? 'is' : 'is not', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Gives back what an intent took that came to nothing. Tokens before profiles, as when they are taken. */
export async function giveBack(tx: Tx, tokenId: string): Promise<void> {
  const token = await tx
    .updateTable('enrollment_token')
    .set((eb) => ({ uses: eb('uses', '-', 1) }))
    .where('id', '=', tokenId)
    .where('uses', '>', 0)
    .returning('profile_id')
    .executeTakeFirst()
  if (!token) return
  await tx
    .updateTable('enrollment_profile')
    .set((eb) => ({ used: eb('used', '-', 1) }))
    .where('id', '=', token.profile_id)
    .where('used', '>', 0)
    .execute()
}

/** What has become of a certificate that we issued ourselves; undefined for others. */
export async function findOwnCertificate(
  db: Db,
  fingerprint: string,
): Promise<{ state: string } | undefined> {
  return await db
    .selectFrom('certificate')
    .select('state')
    .where('fingerprint', '=', fingerprint)
    .executeTakeFirst()
}

export async function lockWebhookSecrets(
  tx: Tx,
): Promise<Pick<Profile, 'id' | 'webhook_secret'>[]> {
  return await tx
    .selectFrom('enrollment_profile')
    .select(['id', 'webhook_secret'])
    .where('webhook_secret', 'is not', null)
    .orderBy('id')
    .forUpdate()
    .execute()
}

export async function setWebhookSecret(tx: Tx, id: string, sealed: Buffer): Promise<void> {
  await tx
    .updateTable('enrollment_profile')
    .set({ webhook_secret: sealed })
    .where('id', '=', id)
    .execute()
}

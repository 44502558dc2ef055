import { recordAudit } from '../audit/audit.ts'
import type { Tx } from '../db/client.ts'
import { recordIdentityChanges } from '../devices/identity-change.ts'
import { DomainError } from '../errors.ts'
import { recordRevocations } from './revocation.ts'
import type { RevocationReason } from './state.ts'
import {
  type CertificateRow,
  countSince,
  findByRequestKey,
  findCertificate,
  hasEverBeenIssued,
  isKeyTaken,
  listPending,
  lockState,
  markAbandoned,
  markRevoked,
  markSuperseded,
} from './store.ts'

const leftBehindMs = 60_000
const abandonAfterMs = 600_000
/** Of one device: enough for retries with new requests, too few to fill a disk. */
const maxPerHour = 20

/**
 * Revokes all certificates of a device, and gives up what is being issued to it, in the caller's transaction. The caller
 * announces the change and publishes the CRLs of the returned authorities after the commit, before it answers.
 */
export async function revokeDeviceCertificates(
  tx: Tx,
  { deviceId, reason, now }: { deviceId: string; reason: RevocationReason; now: Date },
): Promise<{ certificateIds: string[]; authorityIds: string[] }> {
  const revoked = await markRevoked(tx, { deviceId }, { reason, now })
  const pending = await listPending(tx, { deviceId, limit: 100 })
  const abandoned = await abandon(tx, pending)
  await recordRevocations(tx, revoked)
  return {
    certificateIds: revoked.map((row) => row.id),
    authorityIds: [...new Set([...revoked, ...abandoned].map((row) => row.authority_id))],
  }
}

/**
 * The first use of a renewed certificate ends the one it replaces: the device has proved that it holds the new one. Returns
 * whether anything changed; the caller announces it after the commit.
 */
export async function supersedeReplaced(
  tx: Tx,
  successor: { id: string; device_id: string | null; replaces_id: string | null },
  now: Date,
): Promise<boolean> {
  if (successor.replaces_id === null) return false
  // Whoever renews or supersedes locks the certificate that is replaced: otherwise two successors could end each other.
  await lockState(tx, successor.replaces_id)
  if ((await lockState(tx, successor.id)) !== 'issued') return false
  const superseded = await markSuperseded(tx, successor, 'used')
  await recordSuperseded(tx, superseded, successor.id, now)
  return superseded.length > 0
}

/**
 * In the transaction that issues a renewal: the certificate it replaces must still be the one in use, and others that were
 * issued for it and never used are ended, so that one successor is left.
 *
 * @throws DomainError `not-allowed` when the replaced one is not in use any more
 */
export async function replaceUnused(
  tx: Tx,
  issued: Pick<CertificateRow, 'id' | 'device_id' | 'replaces_id'>,
  now: Date,
): Promise<void> {
  if (issued.replaces_id === null) return
  if ((await lockState(tx, issued.replaces_id)) !== 'issued') {
    throw new DomainError('not-allowed', 'The certificate that was presented is not the active one')
  }
  await recordSuperseded(tx, await markSuperseded(tx, issued, 'issued'), issued.id, now)
}

async function recordSuperseded(
  tx: Tx,
  rows: readonly CertificateRow[],
  by: string,
  now: Date,
): Promise<void> {
  for (const row of rows) {
    await recordAudit(tx, {
      at: now,
      actor: row.device_id === null ? 'system' : `device:${row.device_id}`,
      action: 'certificate.supersede',
      subject: row.id,
      facts: { by },
    })
  }
  const deviceIds = rows.flatMap((row) => row.device_id ?? [])
  await recordIdentityChanges(tx, { deviceIds: [...new Set(deviceIds)], now })
}

/**
 * Gives up pending intents. Their serials are never used again and count as revoked, since the signature may exist. Those
 * that were finished meanwhile are left alone and not returned.
 */
export async function abandon(
  tx: Tx,
  rows: readonly Pick<CertificateRow, 'id'>[],
): Promise<CertificateRow[]> {
  if (rows.length === 0) return []
  const abandoned = await markAbandoned(
    tx,
    rows.map(({ id }) => id),
  )
  await recordRevocations(tx, abandoned)
  return abandoned
}

/** The certificate, or the intent, of a request that was made before. */
export async function findRequested(
  tx: Tx,
  requestKey: Buffer,
): Promise<CertificateRow | undefined> {
  return await findByRequestKey(tx, requestKey)
}

/**
 * The certificate a device presented, if it is the one it may renew with.
 *
 * @throws DomainError `not-allowed`
 */
export async function findActive(
  tx: Tx,
  certificateId: string,
  now: Date,
): Promise<CertificateRow & { der: Buffer }> {
  const row = await findCertificate(tx, certificateId)
  if (row?.state !== 'issued' || !row.der || row.not_after <= now) {
    throw new DomainError('not-allowed', 'The certificate that was presented is not the active one')
  }
  return { ...row, der: row.der }
}

/**
 * Makes room for another intent of a device: gives up those that were left behind more than a minute ago, and returns them.
 *
 * @throws DomainError `busy` while a younger one is being worked on
 */
export async function giveUpOlderIntents(
  tx: Tx,
  deviceId: string,
  now: Date,
): Promise<CertificateRow[]> {
  const pending = await listPending(tx, { deviceId, limit: 100 })
  if (pending.some((row) => now.getTime() - row.created_at.getTime() < leftBehindMs)) {
    throw new DomainError('busy', 'Another request of this device is being worked on')
  }
  return await abandon(tx, pending)
}

/** Gives up intents that nobody came back for, at most `limit`. */
export async function abandonStaleIntents(
  tx: Tx,
  now: Date,
  limit: number,
): Promise<CertificateRow[]> {
  const before = new Date(now.getTime() - abandonAfterMs)
  return await abandon(tx, await listPending(tx, { before, limit }))
}

/** @throws DomainError `not-allowed` when another device, or this server, has a certificate for this key */
export async function assertKeyIsFree(tx: Tx, spki: Buffer, deviceId: string): Promise<void> {
  if (await isKeyTaken(tx, spki, deviceId)) {
    throw new DomainError('not-allowed', 'This key may not be used: make a new one')
  }
}

/** @throws DomainError `rate-limited` when a device asks for certificates too often */
export async function assertNotTooOften(tx: Tx, deviceId: string, now: Date): Promise<void> {
  const since = new Date(now.getTime() - 3_600_000)
  if ((await countSince(tx, deviceId, since)) >= maxPerHour) {
    throw new DomainError('rate-limited', `At most ${maxPerHour} certificates an hour`)
  }
}

/** Did this device ever get a certificate? */
export async function wasEverEnrolled(tx: Tx, deviceId: string): Promise<boolean> {
  return await hasEverBeenIssued(tx, deviceId)
}

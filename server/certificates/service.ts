import { recordAudit } from '../audit/audit.ts'
import { raiseRevocationRev } from '../authorities/revocation-rev.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { announceIdentityChange, recordIdentityChanges } from '../devices/identity-change.ts'
import { DomainError } from '../errors.ts'
import { publishCrl } from './crl.ts'
import type { RevocationReason } from './state.ts'
import {
  type CertificateRow,
  getCertificate,
  hasEverBeenIssued,
  listPending,
  markAbandoned,
  markRevoked,
  markSuperseded,
} from './store.ts'

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
  await raiseRevocationRev(
    tx,
    revoked.map((row) => row.authority_id),
  )
  return {
    certificateIds: revoked.map((row) => row.id),
    authorityIds: [...new Set([...revoked, ...abandoned].map((row) => row.authority_id))],
  }
}

export interface RevokeCertificate {
  certificateId: string
  reason: RevocationReason
  by: { id: string; requestId?: string }
}

/**
 * Revokes one certificate for good. When this returns, its connections are being ended on every process and the CRL holds it.
 * A certificate that is revoked already stays as it is, and the CRL is published again when it does not cover it.
 */
export async function revokeCertificate(
  ctx: Pick<Context, 'db' | 'clock' | 'bus' | 'log' | 'authorities' | 'identities'>,
  { certificateId, reason, by }: RevokeCertificate,
): Promise<CertificateRow> {
  const now = ctx.clock.now()
  const row = await inTransaction(ctx.db, async (tx) => {
    const before = await getCertificate(tx, certificateId)
    if (before.state === 'revoked') return before
    const [after] = await markRevoked(tx, { id: certificateId }, { reason, now })
    if (!after) {
      throw new DomainError(
        'illegal-transition',
        `Cannot revoke a certificate that is ${before.state}`,
        {
          state: before.state,
        },
      )
    }
    await raiseRevocationRev(tx, [after.authority_id])
    if (after.device_id !== null) {
      await recordIdentityChanges(tx, { deviceIds: [after.device_id], now })
    }
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: 'certificate.revoke',
      subject: certificateId,
      facts: { from: before.state, reason, deviceId: after.device_id },
      ...(by.requestId === undefined ? {} : { requestId: by.requestId }),
    })
    return after
  })
  if (row.device_id !== null) await announceIdentityChange(ctx, [row.device_id])
  await publishCrl(ctx, row.authority_id)
  return row
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
  const superseded = await markSuperseded(tx, successor, 'used')
  for (const row of superseded) {
    await recordAudit(tx, {
      at: now,
      actor: row.device_id === null ? 'system' : `device:${row.device_id}`,
      action: 'certificate.supersede',
      subject: row.id,
      facts: { by: successor.id },
    })
  }
  const deviceIds = superseded.flatMap((row) => row.device_id ?? [])
  await recordIdentityChanges(tx, { deviceIds: [...new Set(deviceIds)], now })
  return superseded.length > 0
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
  await raiseRevocationRev(
    tx,
    abandoned.map((row) => row.authority_id),
  )
  return abandoned
}

/** Did this device ever get a certificate? */
export async function wasEverEnrolled(tx: Tx, deviceId: string): Promise<boolean> {
  return await hasEverBeenIssued(tx, deviceId)
}

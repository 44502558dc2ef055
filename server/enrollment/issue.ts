import { recordAudit } from '../audit/audit.ts'
import { type CertificateRow, completeIntent } from '../certificates/intent.ts'
import { replaceUnused } from '../certificates/service.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { announceIdentityChange, recordIdentityChanges } from '../devices/identity-change.ts'
import { type LockedDevice, lockDevice, moveDevice } from '../devices/lifecycle.ts'
import { DomainError } from '../errors.ts'
import { renewalFacts } from './renewal-facts.ts'

export type IssueDeps = Pick<
  Context,
  'db' | 'clock' | 'log' | 'bus' | 'authorities' | 'identities' | 'metrics' | 'kek' | 'config'
>

/**
 * Turns a stored intent into a certificate, and a registered device into an active one. For an intent that is finished
 * already, the certificate there is.
 *
 * @returns the certificate, DER
 * @throws DomainError `not-allowed` when the device was cut off meanwhile, or the certificate has been ended since
 */
export async function issueToDevice(ctx: IssueDeps, intent: CertificateRow): Promise<Buffer> {
  const deviceId = intent.device_id
  if (deviceId === null) throw new Error('An intent without a device')
  const now = ctx.clock.now()
  let device: LockedDevice | undefined
  const row = await completeIntent(ctx, intent, {
    lock: async (tx) => {
      device = await lockDevice(tx, { id: deviceId })
    },
    onIssued: async (tx, issued) => {
      await activate(tx, device, now)
      await replaceUnused(tx, issued, now)
      if (!isFirst(device)) await recordIdentityChanges(tx, { deviceIds: [deviceId], now })
      await recordAudit(tx, {
        at: now,
        actor: issued.enrollment_token_id
          ? `token:${issued.enrollment_token_id}`
          : `device:${deviceId}`,
        action: 'certificate.issue',
        subject: issued.id,
        facts: {
          deviceId,
          fingerprint: issued.fingerprint,
          subject: issued.subject,
          notAfter: issued.not_after.toISOString(),
          ...(await renewalFacts(tx, issued)),
        },
      })
    },
  })
  if (row.state !== 'issued' || !row.der) {
    throw new DomainError(
      'not-allowed',
      'The certificate of this request was ended: make a new request',
    )
  }
  if (intent.state === 'pending') {
    ctx.metrics.certificatesIssued.inc()
    if (!isFirst(device)) await announceIdentityChange(ctx, [deviceId])
  }
  return row.der
}

/**
 * Nobody can have anything in memory about a device that never had a certificate: its first one is looked up when it is
 * shown. A production line's enrollments are therefore not told to every process.
 */
function isFirst(device: LockedDevice | undefined): boolean {
  return device?.state === 'registered'
}

async function activate(tx: Tx, device: LockedDevice | undefined, now: Date): Promise<void> {
  switch (device?.state) {
    case 'registered':
      await moveDevice(tx, device, 'enroll', now)
      return
    case 'active':
      return
    case 'disabled':
    case 'revoked':
    case 'retired':
    case undefined:
      throw new DomainError('not-allowed', 'This device may not have a certificate')
    default:
      throw new DomainError('not-allowed', 'This device may not have a certificate')
  }
}

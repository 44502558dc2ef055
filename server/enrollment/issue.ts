import { fingerprint } from '../../pki/x509/parse.ts'
import { type AuditEntry, recordAudit, recordAudits } from '../audit/audit.ts'
import { type CertificateRow, completeIntent, signIntent } from '../certificates/intent.ts'
import { markManyIssued } from '../certificates/intents.ts'
import { replaceUnused } from '../certificates/service.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { announceIdentityChange, recordIdentityChanges } from '../devices/identity-change.ts'
import {
  activateDevices,
  type LockedDevice,
  lockDevice,
  lockDevices,
  moveDevice,
} from '../devices/lifecycle.ts'
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
 * @param requestId of the request that is handled for this device alone, for the audit row
 * @returns the certificate, DER
 * @throws DomainError `not-allowed` when the device was cut off meanwhile, or the certificate has been ended since
 */
export async function issueToDevice(
  ctx: IssueDeps,
  intent: CertificateRow,
  requestId?: string,
): Promise<Buffer> {
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
      const entry = entryOf(issued, now, await renewalFacts(tx, issued))
      await recordAudit(tx, { ...entry, ...(requestId === undefined ? {} : { requestId }) })
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
 * `issueToDevice` for first certificates of many devices, all in one transaction after all are signed.
 *
 * @returns the certificates, DER, by the ids of their intents. The others are to be taken one by one, which says why not
 * @throws what the database or the signer throws; nothing is issued then
 */
export async function issueToDevices(
  ctx: IssueDeps,
  intents: readonly CertificateRow[],
): Promise<Map<string, Buffer>> {
  const signed = await Promise.all(intents.map((intent) => issuedBy(ctx, intent)))
  const now = ctx.clock.now()
  const issued = await inTransaction(ctx.db, async (tx) => {
    const ids = signed.flatMap(({ intent }) => intent.device_id ?? [])
    const devices = await lockDevices(tx, { ids })
    const ready = new Set(devices.filter(isFirst).map(({ id }) => id))
    const welcome = signed.filter(({ intent }) => ready.has(intent.device_id ?? ''))
    const marked = await markManyIssued(tx, welcome)
    const done = welcome.filter(({ id }) => marked.has(id))
    await activateDevices(
      tx,
      done.flatMap(({ intent }) => intent.device_id ?? []),
      now,
    )
    await recordAudits(
      tx,
      done.map((one) => entryOf({ ...one.intent, ...one }, now, { kind: 'enroll' })),
    )
    return done
  })
  ctx.metrics.certificatesIssued.inc(issued.length)
  return new Map(issued.map(({ id, der }) => [id, der]))
}

interface Issued {
  id: string
  der: Buffer
  fingerprint: string
  intent: CertificateRow
}

async function issuedBy(ctx: IssueDeps, intent: CertificateRow): Promise<Issued> {
  const der = await signIntent(ctx, intent)
  return { id: intent.id, der, fingerprint: fingerprint(der), intent }
}

function entryOf(
  issued: Pick<
    CertificateRow,
    'id' | 'device_id' | 'enrollment_token_id' | 'fingerprint' | 'subject' | 'not_after'
  >,
  at: Date,
  kind: Record<string, unknown>,
): AuditEntry {
  const { id, device_id: deviceId, enrollment_token_id: tokenId, subject, not_after: end } = issued
  return {
    at,
    actor: tokenId ? `token:${tokenId}` : `device:${deviceId}`,
    action: 'certificate.issue',
    subject: id,
    facts: {
      deviceId,
      fingerprint: issued.fingerprint,
      subject,
      notAfter: end.toISOString(),
      ...kind,
    },
  }
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

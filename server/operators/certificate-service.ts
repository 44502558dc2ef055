import { createHash } from 'node:crypto'

import { PkiError } from '../../pki/errors.ts'
import { fromPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import {
  assertAdministratorLeft,
  lockAccess,
  mustHoldGiven,
  setGrants,
} from '../access/grant-service.ts'
import type { Consent } from '../approvals/agreed.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Actor } from '../http/access.ts'
import { mustBeActive } from '../people/service.ts'
import {
  getCertificate,
  insertCertificate,
  isDevices,
  markCertificateRevoked,
  type OperatorCertificate,
} from './certificate-store.ts'
import { makerOf } from './voice.ts'

/** SHA-256 of a certificate's DER, 32 bytes. */
export function fingerprintOf(der: Buffer): Buffer {
  return createHash('sha256').update(der).digest()
}

export interface RegisterCertificate {
  id: string
  name: string
  /** PEM, one certificate. */
  certificate: string
  role: string
  groupIds: readonly string[]
  ownerId?: string | undefined
  by: Actor
  /** Of others, by policy. */
  consent?: Consent
}

/**
 * From now on whoever holds the certificate's key may call, with this role. The same id again answers the same and records nothing twice.
 *
 * @throws DomainError `invalid-request` for what is no certificate, or has ended; `conflict` for one that is registered, or is a
 * device's; `not-allowed` for a role that the caller does not have
 */
export async function registerCertificate(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  command: RegisterCertificate,
): Promise<OperatorCertificate> {
  const { id, name, role, groupIds, ownerId, by, consent } = command
  const now = clock.now()
  const { der, notBefore, notAfter } = readCertificate(command.certificate)
  if (notAfter <= now) throw invalid('This certificate has ended')
  const fingerprint = fingerprintOf(der)
  return await inTransaction(db, async (tx) => {
    await mustHoldGiven(tx, by, [{ role, groupIds }])
    if (ownerId !== undefined) await mustBeActive(tx, ownerId)
    if (await isDevices(tx, fingerprint)) {
      throw new DomainError('conflict', 'This is the certificate of a device: make another')
    }
    const isNew = await insertCertificate(tx, {
      id,
      name,
      fingerprint,
      role,
      owner_id: ownerId ?? null,
      not_before: notBefore,
      not_after: notAfter,
      created_by: makerOf(by),
      created_at: now,
    })
    if (isNew) {
      await recordAudit(tx, {
        at: now,
        actor: by.id,
        action: 'operator-certificate.register',
        subject: id,
        facts: {
          name,
          fingerprint: fingerprint.toString('hex'),
          role,
          groupIds,
          ownerId: ownerId ?? null,
          notAfter: notAfter.toISOString(),
        },
        requestId: by.requestId,
      })
      const given = { actor: by.id, at: now, requestId: by.requestId, consent }
      await setGrants(tx, `certificate:${id}`, [{ role, groupIds }], given)
    } else if (!(await isRegisteredAs(tx, id, fingerprint))) {
      throw new DomainError('conflict', 'This certificate is registered already')
    }
    return await getCertificate(tx, id)
  })
}

/** From the next request on it opens nothing, on connections that are open too. Once revoked, never again. */
export async function revokeCertificate(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { id, by }: { id: string; by: Actor },
): Promise<void> {
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    await lockAccess(tx)
    const { name, fingerprint } = await getCertificate(tx, id)
    if (!(await markCertificateRevoked(tx, id, now))) return
    await assertAdministratorLeft(tx, now)
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: 'operator-certificate.revoke',
      subject: id,
      facts: { name, fingerprint: fingerprint.toString('hex') },
      requestId: by.requestId,
    })
  })
}

function readCertificate(pem: string): { der: Buffer; notBefore: Date; notAfter: Date } {
  try {
    const [der, ...more] = fromPem(pem, 'CERTIFICATE')
    if (!der || more.length > 0)
      throw invalid('Send one certificate, the first of the chain, as PEM')
    const { notBefore, notAfter } = parseCertificate(der)
    return { der, notBefore, notAfter }
  } catch (error) {
    if (!(error instanceof PkiError)) throw error
    throw invalid(`This is no certificate: ${error.message}`)
  }
}

async function isRegisteredAs(tx: Tx, id: string, fingerprint: Buffer): Promise<boolean> {
  const found = await getCertificate(tx, id).catch(() => undefined)
  return found?.fingerprint.equals(fingerprint) ?? false
}

function invalid(message: string): DomainError {
  return new DomainError('invalid-request', message, { at: 'certificate' })
}

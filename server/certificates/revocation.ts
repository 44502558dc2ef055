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
  lockState,
  markCompromised,
  markHeld,
  markReleased,
  markRevoked,
  stampRevocation,
} from './store.ts'

export type RevocationAction =
  | { action: 'revoke'; reason: RevocationReason }
  | { action: 'hold' }
  | { action: 'release' }

type Command = RevocationAction & {
  certificateId: string
  by: { id: string; requestId?: string }
}

type Deps = Pick<Context, 'db' | 'clock' | 'bus' | 'log' | 'authorities' | 'identities'>

/**
 * Revokes one certificate for good, puts it on hold, or releases it from a hold (RFC 5280 §5.3.1). When this returns, its
 * connections are being ended on every process and the CRL says so. Asking for what is there already changes nothing but
 * publishes the CRL when it is behind, so a caller whose first attempt broke off may try again. A final revocation
 * keeps its date, and its reason unless the key turns out to be compromised.
 *
 * @throws DomainError `not-found`, `illegal-transition`
 */
export async function changeRevocation(ctx: Deps, command: Command): Promise<CertificateRow> {
  const { certificateId, by } = command
  const now = ctx.clock.now()
  const row = await inTransaction(ctx.db, async (tx) => {
    await lockState(tx, certificateId)
    const before = await getCertificate(tx, certificateId)
    if (before.kind === 'ocsp-responder') throw notRevocable()
    const after = await apply(tx, before, command, now)
    if (!after) return before
    await recordRevocations(tx, [after])
    if (after.device_id !== null) {
      await recordIdentityChanges(tx, { deviceIds: [after.device_id], now })
    }
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: `certificate.${command.action}`,
      subject: certificateId,
      facts: {
        from: before.state,
        to: after.state,
        reason: after.revocation_reason,
        deviceId: after.device_id,
      },
      ...(by.requestId === undefined ? {} : { requestId: by.requestId }),
    })
    return after
  })
  if (row.device_id !== null) await announceIdentityChange(ctx, [row.device_id])
  await publishCrl(ctx, row.authority_id)
  return row
}

/** Revokes one certificate for good; see `changeRevocation`. */
export async function revokeCertificate(
  ctx: Deps,
  command: Omit<Extract<Command, { action: 'revoke' }>, 'action'>,
): Promise<CertificateRow> {
  return await changeRevocation(ctx, { action: 'revoke', ...command })
}

/** The row after the change; undefined when nothing is to be changed. */
async function apply(
  tx: Tx,
  before: CertificateRow,
  command: RevocationAction,
  now: Date,
): Promise<CertificateRow | undefined> {
  const { id, state } = before
  switch (command.action) {
    case 'revoke': {
      const { reason } = command
      if (state === 'revoked') {
        return reason === 'keyCompromise' ? await markCompromised(tx, id) : undefined
      }
      const [after] = await markRevoked(tx, { id }, { reason, now })
      return after ?? illegal('revoke', state)
    }
    case 'hold':
      if (state === 'held') return undefined
      return (await markHeld(tx, id, now)) ?? illegal('hold', state)
    case 'release':
      if (state === 'issued' || state === 'superseded') return undefined
      return (await markReleased(tx, id)) ?? illegal('release', state)
    default:
      throw new DomainError('invalid-request', 'No such action on a certificate')
  }
}

function illegal(action: RevocationAction['action'], state: CertificateRow['state']): never {
  const advice = {
    revoke: 'only an issued certificate can be revoked',
    hold: 'only an issued certificate can be put on hold',
    release: 'only a hold can be released; renew or enroll the device instead',
  }[action]
  throw new DomainError(
    'illegal-transition',
    `Cannot ${action} a certificate that is ${state}: ${advice}`,
    { state },
  )
}

function notRevocable(): DomainError {
  // Its id-pkix-ocsp-nocheck tells everybody not to ask, so revoking it would protect nobody.
  return new DomainError(
    'illegal-transition',
    'The certificate of an OCSP responder cannot be revoked: it ends by itself within days',
  )
}

/** In the transaction of each change to what a CRL lists: the next CRL and the next delta have to say so. */
export async function recordRevocations(
  tx: Tx,
  rows: readonly Pick<CertificateRow, 'id' | 'authority_id'>[],
): Promise<void> {
  await raiseRevocationRev(
    tx,
    rows.map((row) => row.authority_id),
  )
  await stampRevocation(
    tx,
    rows.map((row) => row.id),
  )
}

import { validatePath } from '../../pki/path-validate.ts'
import { fromPem } from '../../pki/pem.ts'
import { fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import type { Identity } from '../identity.ts'
import { estPolicyOf, type EstPolicy } from './est-policy.ts'
import { countSuccessors, findLapsed, type LapsedRow } from './lapsed-store.ts'

type Deps = Pick<Context, 'db' | 'clock'> & {
  authorities: Pick<Context['authorities'], 'clientCa'>
}

const dayMs = 86_400_000
/** Of one lapsed certificate: enough for retries with new requests. */
const maxSuccessorsPerDay = 5

/**
 * Whose certificate this is, when it has done nothing worse than end, within the grace of its profile (pki.md §6.4). The peer has
 * proved that it holds the key: the handshake was finished. Nothing that TLS said about the certificate is looked at,
 * for one reason masks all others (T1): what counts is our record, byte for byte, and our own path validation at
 * the instant it ended.
 *
 * @param der what the peer presented; nothing is believed of it
 * @throws DomainError `not-allowed`
 */
export async function identifyLapsed(ctx: Deps, der: Buffer): Promise<Identity> {
  const print = fingerprint(der)
  const row = await findLapsed(ctx.db, print)
  if (!row?.der?.equals(der)) throw untrusted()
  assertActive(row)
  const now = ctx.clock.now()
  if (row.not_after > now) throw untrusted()
  assertPath(ctx.authorities.clientCa, row, der)
  assertWithinGrace(row, await estPolicyOf(ctx.db, row.enrollment_profile_id), now)
  return { deviceId: row.device_id, certificateId: row.id, fingerprint: print }
}

/**
 * The bounds of a renewal after the end; asked again in the transaction that grants it.
 *
 * @throws DomainError `not-allowed` past the grace, `rate-limited`
 */
export async function assertLapsedMayRenew(
  db: Db,
  current: { id: string; not_after: Date },
  { policy, now }: { policy: EstPolicy; now: Date },
): Promise<void> {
  assertWithinGrace(current, policy, now)
  const since = new Date(now.getTime() - dayMs)
  if ((await countSuccessors(db, current.id, since)) >= maxSuccessorsPerDay) {
    throw new DomainError(
      'rate-limited',
      `An expired certificate is renewed at most ${maxSuccessorsPerDay} times a day: use the one that was issued`,
    )
  }
}

function assertActive({ state, device_state: deviceState }: LapsedRow): void {
  switch (state) {
    case 'issued':
      break
    case 'superseded':
    case 'held':
    case 'revoked':
    case 'pending':
    case 'abandoned':
      throw new DomainError('not-allowed', `Refused: the certificate is ${state}`)
    default:
      throw untrusted()
  }
  if (deviceState !== 'active') throw new DomainError('not-allowed', 'This device is cut off')
}

/** With the clock at its end, under an issuer that devices may still come from. */
function assertPath(
  clientCa: readonly string[],
  { issuer, not_after: at }: LapsedRow,
  der: Buffer,
) {
  const accepted = clientCa.flatMap((pem) => fromPem(pem, 'CERTIFICATE'))
  if (!accepted.some((candidate) => candidate.equals(issuer))) throw untrusted()
  const anchors = accepted.filter((candidate) => {
    const { subject, issuer: signer } = parseCertificate(candidate)
    return subject.equals(signer)
  })
  const verdict = validatePath([der, issuer], anchors, { at, purpose: 'clientAuth' })
  if (!verdict.valid) throw untrusted()
}

function assertWithinGrace(
  { not_after: notAfter }: { not_after: Date },
  { renewal: { graceDays } }: EstPolicy,
  now: Date,
): void {
  if (now.getTime() - notAfter.getTime() <= graceDays * dayMs) return
  const when = notAfter.toISOString()
  throw new DomainError(
    'not-allowed',
    graceDays === 0
      ? `The certificate ended at ${when} and its profile gives no grace: enroll the device again`
      : `The certificate ended at ${when}, more than ${graceDays} days ago: enroll the device again`,
  )
}

function untrusted(): DomainError {
  return new DomainError('not-allowed', 'The client certificate is not trusted or not valid now')
}

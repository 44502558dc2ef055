import type { Csr } from '../../pki/csr/parse.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { deviceIdentity } from '../../pki/x509/profiles.ts'
import { type CertificateRow, newIntent, saveIntent } from '../certificates/intent.ts'
import {
  assertKeyIsFree,
  assertNotTooOften,
  findActive,
  findRequested,
  giveUpOlderIntents,
} from '../certificates/service.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { noteRenewalRefused } from '../deployments/certificates.ts'
import { lockDevice } from '../devices/lifecycle.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import type { Identity } from '../identity.ts'
import { newId } from '../ids.ts'
import { assertNotCutOff } from '../incidents/cut-off.ts'
import { currentRequestId } from '../request-origin.ts'
import { type EstPolicy, estPolicyOf } from './est-policy.ts'
import { type IssueDeps, issueToDevice } from './issue.ts'
import { assertLapsedMayRenew } from './lapsed.ts'
import { noteAnomalies } from './renewal-anomalies.ts'
import { renewalHintFor } from './renewal-hint.ts'
import { assertKeyPolicy, assertSameNames, requestKeyOf } from './request.ts'
import { keyAlgorithms } from './state.ts'
import { findProfile, giveBack, type Profile } from './store.ts'

/** For a device that has no profile of its own any more. */
const defaults = { id: '', name: '', key_policy: [...keyAlgorithms], certificate_days: 90 }

export interface Renewal {
  /** Of the certificate that was presented in the handshake. */
  identity: Identity
  csr: Csr
  /** The EST label, when the path has one. */
  label: string | undefined
  /** SCEP knows no rule for names: a request without a subjectAltName keeps the one there is. */
  mayOmitSan?: boolean
  /** The certificate has ended, and `identifyLapsed` vouches for it. */
  isLapsed?: boolean
}

/** Long before any certificate: the dates of a lapsed one are judged by its grace. */
const noDate = new Date(0)

/**
 * The next certificate of a device (EST simplereenroll), for the same or another key. The one that was presented stays good
 * until the new one is used.
 *
 * @returns the certificate, DER
 * @throws DomainError `not-allowed`, `invalid-request`, `rate-limited`, `busy`
 */
export async function renew(ctx: IssueDeps, renewal: Renewal): Promise<Buffer> {
  const intent = await inTransaction(ctx.db, (tx) => admit(tx, ctx, renewal)).catch(
    async (refusal: unknown) => {
      await noteRenewalRefused(ctx, renewal.identity.deviceId, refusal)
      throw refusal
    },
  )
  const der = await issueToDevice(ctx, intent, currentRequestId())
  if (intent.state !== 'pending') return der
  const { deviceId, fingerprint } = renewal.identity
  await noteAnomalies(ctx, { deviceId, certificateId: intent.id })
  if (renewal.isLapsed) {
    noteEvent(ctx, {
      source: 'server',
      kind: 'renewed-after-expiry',
      severity: 'warning',
      deviceId,
      facts: { fingerprint, certificateId: intent.id },
    })
  }
  return der
}

async function admit(tx: Tx, ctx: IssueDeps, renewal: Renewal): Promise<CertificateRow> {
  const { identity, csr, label } = renewal
  const now = ctx.clock.now()
  const device = await lockDevice(tx, { id: identity.deviceId })
  if (device?.state !== 'active') throw new DomainError('not-allowed', 'This device is cut off')
  await assertNotCutOff(tx, device.id)
  const profileId = device.enrollment_profile_id
  const profile =
    (profileId === null ? undefined : await findProfile(tx, { id: profileId })) ?? defaults
  if (label !== undefined && label !== profile.name) {
    throw new DomainError('not-allowed', 'This device belongs to another enrollment profile')
  }
  const { isLapsed = false } = renewal
  const current = await findActive(tx, identity.certificateId, isLapsed ? noDate : now)
  const principal = `certificate:${identity.fingerprint}`
  const requestKey = requestKeyOf('simplereenroll', profile.id, principal, csr)
  const before = await findRequested(tx, requestKey)
  if (before) return before
  const policy = await estPolicyOf(tx, profileId)
  if (isLapsed) await assertLapsedMayRenew(tx, current, { policy, now })
  else await assertOpen(tx, identity.fingerprint, now)
  const { subject, subjectAltName, spki } = parseCertificate(current.der)
  const keepsSan = renewal.mayOmitSan === true && csr.subjectAltName === undefined
  assertSameNames(csr, { subject, subjectAltName: keepsSan ? undefined : subjectAltName })
  assertKeyRule(policy, csr.spki.equals(spki))
  assertKeyPolicy(csr, profile.key_policy)
  await assertKeyIsFree(tx, csr.spki, device.id)
  await assertNotTooOften(tx, device.id, now)
  for (const left of await giveUpOlderIntents(tx, device.id, now)) {
    if (left.enrollment_token_id) await giveBack(tx, left.enrollment_token_id)
  }
  const intent = newIntent({
    id: newId(now),
    issuer: ctx.authorities.deviceIssuer(seriesFor(ctx, profile, current.authority_id)),
    urls: ctx.authorities.urls,
    profile: 'device',
    deviceId: device.id,
    replacesId: current.id,
    requestKey,
    subject,
    spki: csr.spki,
    san: [deviceIdentity(device.id)],
    // Of a device that speaks SCEP.
    keyEncipherment: renewal.mayOmitSan === true && csr.publicKey.algorithm.startsWith('RSA'),
    days: profile.certificate_days,
    now,
  })
  await saveIntent(tx, intent)
  return intent
}

/** A device without a profile stays with the series it came from. */
function seriesFor(
  { authorities }: IssueDeps,
  profile: Pick<Profile, 'issuer_series'> | typeof defaults,
  authorityId: string,
): string | null {
  if ('issuer_series' in profile) return profile.issuer_series
  return authorities.seriesOf(authorityId) ?? null
}

/** @throws DomainError `not-allowed` that says when the window opens */
async function assertOpen(tx: Tx, fingerprint: string, now: Date): Promise<void> {
  const times = await renewalHintFor(tx, fingerprint)
  if (!times || times.opensAt <= now) return
  const opensAt = times.opensAt.toISOString()
  throw new DomainError(
    'not-allowed',
    `This certificate can be renewed from ${opensAt} on: come back then`,
    { opensAt, retryAfterSeconds: Math.ceil((times.opensAt.getTime() - now.getTime()) / 1000) },
  )
}

/** The same key renews, another rekeys (RFC 7030 §4.2.2); the profile says which is wanted. */
function assertKeyRule({ renewalKey }: EstPolicy, isSameKey: boolean): void {
  switch (renewalKey) {
    case 'any':
      return
    case 'new':
      if (!isSameKey) return
      throw new DomainError(
        'invalid-request',
        'This profile wants a new key: make one and ask again',
      )
    case 'same':
      if (isSameKey) return
      throw new DomainError('invalid-request', 'This profile keeps keys: ask with the key you have')
    default:
      throw new DomainError('invalid-request', 'The key rule of this profile is not known')
  }
}

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
import { lockDevice } from '../devices/lifecycle.ts'
import { DomainError } from '../errors.ts'
import type { Identity } from '../identity.ts'
import { newId } from '../ids.ts'
import { assertNotCutOff } from '../incidents/cut-off.ts'
import { type IssueDeps, issueToDevice } from './issue.ts'
import { assertKeyPolicy, assertSameNames, requestKeyOf } from './request.ts'
import { keyAlgorithms } from './state.ts'
import { findProfile, giveBack } from './store.ts'

/** For a device that has no profile of its own any more. */
const defaults = { id: '', name: '', key_policy: [...keyAlgorithms], certificate_days: 90 }

export interface Renewal {
  /** Of the certificate that was presented in the handshake. */
  identity: Identity
  csr: Csr
  /** The EST label, when the path has one. */
  label: string | undefined
}

/**
 * The next certificate of a device (EST simplereenroll), for the same or another key. The one that was presented stays good
 * until the new one is used.
 *
 * @returns the certificate, DER
 * @throws DomainError `not-allowed`, `invalid-request`, `rate-limited`, `busy`
 */
export async function renew(ctx: IssueDeps, renewal: Renewal): Promise<Buffer> {
  const intent = await inTransaction(ctx.db, (tx) => admit(tx, ctx, renewal))
  return await issueToDevice(ctx, intent)
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
  const current = await findActive(tx, identity.certificateId, now)
  const principal = `certificate:${identity.fingerprint}`
  const requestKey = requestKeyOf('simplereenroll', profile.id, principal, csr)
  const before = await findRequested(tx, requestKey)
  if (before) return before
  const { subject, subjectAltName } = parseCertificate(current.der)
  assertSameNames(csr, { subject, subjectAltName })
  assertKeyPolicy(csr, profile.key_policy)
  await assertKeyIsFree(tx, csr.spki, device.id)
  await assertNotTooOften(tx, device.id, now)
  for (const left of await giveUpOlderIntents(tx, device.id, now)) {
    if (left.enrollment_token_id) await giveBack(tx, left.enrollment_token_id)
  }
  const intent = newIntent({
    id: newId(now),
    issuer: ctx.authorities.devices,
    urls: ctx.authorities.urls,
    profile: 'device',
    deviceId: device.id,
    replacesId: current.id,
    requestKey,
    subject,
    spki: csr.spki,
    san: [deviceIdentity(device.id)],
    days: profile.certificate_days,
    now,
  })
  await saveIntent(tx, intent)
  return intent
}

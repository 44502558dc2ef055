import type { Csr } from '../../pki/csr/parse.ts'
import { deviceIdentity } from '../../pki/x509/profiles.ts'
import { type CertificateRow, newIntent, saveIntent } from '../certificates/intent.ts'
import { assertKeyIsFree, findRequested, giveUpOlderIntents } from '../certificates/service.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import {
  assignProfile,
  insertMetDevice,
  type LockedDevice,
  lockDevice,
} from '../devices/lifecycle.ts'
import { DomainError } from '../errors.ts'
import { addMembers } from '../groups/service.ts'
import { newId } from '../ids.ts'
import { assertNotCutOff } from '../incidents/cut-off.ts'
import { compileIdPattern } from './id-pattern.ts'
import { type IssueDeps, issueToDevice } from './issue.ts'
import {
  assertKeyPolicy,
  assertNamesMatch,
  namesOf,
  type RequestedNames,
  requestKeyOf,
  subjectFor,
} from './request.ts'
import {
  getProfile,
  giveBack,
  lockToken,
  type Profile,
  takeQuota,
  takeUse,
  type Token,
} from './store.ts'

export interface Enrollment {
  /** The token that was presented, authenticated by its secret and nothing more. */
  token: Token
  profile: Profile
  csr: Csr
}

/**
 * The first certificate of a device (EST simpleenroll). What it costs (a use of the token, a place of the quota) is taken in the
 * transaction that stores the intent. The same request with the same token gets the same certificate and costs
 * nothing, also after a crash in between or when the token has ended meanwhile.
 *
 * @returns the certificate, DER
 * @throws DomainError `not-allowed`, `quota-exhausted`, `busy`, `invalid-request`
 */
export async function enroll(ctx: IssueDeps, enrollment: Enrollment): Promise<Buffer> {
  const names = namesOf(enrollment.csr)
  const intent = await inTransaction(ctx.db, (tx) => admit(tx, ctx, enrollment, names))
  return await issueToDevice(ctx, intent)
}

async function admit(
  tx: Tx,
  ctx: IssueDeps,
  { token, profile, csr }: Enrollment,
  names: RequestedNames,
): Promise<CertificateRow> {
  const now = ctx.clock.now()
  const requestKey = requestKeyOf('simpleenroll', profile.id, `token:${token.id}`, csr)
  await lockToken(tx, token.id)
  const before = await findRequested(tx, requestKey)
  if (before) return await repeat(tx, before)
  assertKeyPolicy(csr, profile.key_policy)
  assertIdentity(profile, names.serialNumber)
  await take(tx, { token, profile, now })
  const device = await resolveDevice(tx, profile, { names, now })
  assertNamesMatch(csr, names, device)
  await assertKeyIsFree(tx, csr.spki, device.id)
  for (const left of await giveUpOlderIntents(tx, device.id, now)) {
    if (left.enrollment_token_id) await giveBack(tx, left.enrollment_token_id)
  }
  await addMembers(tx, profile.group_id, [device.id], now)
  await assertNotCutOff(tx, device.id)
  const intent = newIntent({
    id: newId(now),
    issuer: ctx.authorities.devices,
    urls: ctx.authorities.urls,
    profile: 'device',
    deviceId: device.id,
    enrollmentTokenId: token.id,
    requestKey,
    subject: subjectFor(device),
    spki: csr.spki,
    san: [deviceIdentity(device.id)],
    days: profile.certificate_days,
    now,
  })
  await saveIntent(tx, intent)
  return intent
}

/** The answer to a repeated request, for a device that is still welcome. */
async function repeat(tx: Tx, row: CertificateRow): Promise<CertificateRow> {
  const device = row.device_id === null ? undefined : await lockDevice(tx, { id: row.device_id })
  if (device?.state !== 'active' && device?.state !== 'registered') throw notWelcome()
  await assertNotCutOff(tx, device.id)
  return row
}

function assertIdentity({ id_pattern: pattern }: Profile, serialNumber: string): void {
  if (pattern !== null && !compileIdPattern(pattern)(serialNumber)) {
    throw new DomainError('not-allowed', 'The serial number is not one of this enrollment profile')
  }
}

/** Both conditional updates hold their row until the commit, so that no two requests take the last place. */
async function take(
  tx: Tx,
  { token, profile, now }: { token: Token; profile: Profile; now: Date },
): Promise<void> {
  if (!(await takeUse(tx, token.id, now))) {
    const current = await lockToken(tx, token.id)
    const isExpired = !current || (current.expires_at !== null && current.expires_at <= now)
    throw isExpired
      ? new DomainError('not-allowed', 'The enrollment token has expired')
      : new DomainError('quota-exhausted', 'The enrollment token is used up')
  }
  if (!(await takeQuota(tx, profile.id, now))) {
    const { valid_from: from, valid_until: until } = await getProfile(tx, profile.id)
    const isOpen = (!from || from <= now) && (!until || until > now)
    throw isOpen
      ? new DomainError('quota-exhausted', 'The quota of this enrollment profile is used up')
      : new DomainError('not-allowed', 'This enrollment profile is not open now')
  }
}

async function resolveDevice(
  tx: Tx,
  profile: Profile,
  { names, now }: { names: RequestedNames; now: Date },
): Promise<LockedDevice> {
  const { serialNumber } = names
  const known = await lockDevice(tx, { serialNumber })
  if (known) return await admitKnown(tx, profile, known)
  if (profile.registration !== 'just-in-time') {
    throw new DomainError('not-allowed', 'This device is not registered')
  }
  const row = { id: newId(now), serialNumber, profileId: profile.id, now }
  const made = await insertMetDevice(tx, row)
  if (made) return made
  // Somebody else met it at the same moment: by now that is committed.
  const met = await lockDevice(tx, { serialNumber })
  if (!met) throw new DomainError('busy', 'Another request of this device is being worked on')
  return await admitKnown(tx, profile, met)
}

async function admitKnown(tx: Tx, profile: Profile, device: LockedDevice): Promise<LockedDevice> {
  const isOfProfile = [null, profile.id].includes(device.enrollment_profile_id)
  if (device.state !== 'registered' || !isOfProfile) throw notWelcome()
  await assignProfile(tx, device.id, profile.id)
  return device
}

/** One answer for an active device (it renews with its certificate), a disabled and a revoked one, and one of another profile. */
function notWelcome(): DomainError {
  return new DomainError('not-allowed', 'This device is enrolled already, or cut off')
}

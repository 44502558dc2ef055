import type { Csr } from '../../pki/csr/parse.ts'
import { deviceIdentity } from '../../pki/x509/profiles.ts'
import { type CertificateRow, newIntent, saveIntent, spkiHash } from '../certificates/intent.ts'
import { assertKeyIsFree, findRequested, giveUpOlderIntents } from '../certificates/service.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { lockDevice } from '../devices/lifecycle.ts'
import { DomainError } from '../errors.ts'
import { addMembers } from '../groups/service.ts'
import { newId } from '../ids.ts'
import { assertNotCutOff } from '../incidents/cut-off.ts'
import { markIssued, type WaitingRequest } from './approval-store.ts'
import { type Asking, askForApproval, findWaiting, stillWaiting } from './approval.ts'
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
import { resolveDevice } from './resolve-device.ts'
import {
  getProfile,
  giveBack,
  lockToken,
  type Profile,
  takeQuota,
  takeUse,
  type Token,
} from './store.ts'
import { askWebhook } from './webhook.ts'

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
 * @throws DomainError `not-allowed`, `quota-exhausted`, `busy`, `invalid-request`; `not-ready` with `retryAfterSeconds` while it
 *   waits to be approved
 */
export async function enroll(ctx: IssueDeps, enrollment: Enrollment): Promise<Buffer> {
  const { token, profile, csr } = enrollment
  const request = {
    ...enrollment,
    names: namesOf(csr),
    requestKey: requestKeyOf('simpleenroll', profile.id, `token:${token.id}`, csr),
  }
  if (profile.webhook_url !== null && (await isWorthAsking(ctx, request))) {
    await askWebhook(ctx, profile, {
      serialNumber: request.names.serialNumber,
      keySha256: spkiHash(csr.spki).toString('hex'),
      keyAlgorithm: csr.publicKey.algorithm,
      credential: { id: token.id, kind: token.kind },
    })
  }
  const admitted = await inTransaction(ctx.db, (tx) => admit(tx, ctx, request))
  if ('waiting' in admitted) throw stillWaiting(admitted.waiting)
  return await issueToDevice(ctx, admitted.intent)
}

interface Request extends Enrollment {
  names: RequestedNames
  requestKey: Buffer
}

/** Whatever can be answered or refused without the webhook is. What was let through to wait is not asked about each time. */
async function isWorthAsking(ctx: IssueDeps, request: Request): Promise<boolean> {
  const { token, profile, csr, names, requestKey } = request
  const now = ctx.clock.now()
  return await inTransaction(ctx.db, async (tx) => {
    if (await findRequested(tx, requestKey)) return false
    assertMayAsk(request, names.serialNumber)
    const waiting = isApproved(request) ? undefined : await findWaiting(tx, token.id, csr)
    if (waiting && waiting.state !== 'approved') return false
    assertTokenOpen(await lockToken(tx, token.id), now)
    assertProfileOpen(await getProfile(tx, profile.id), now)
    return true
  })
}

async function admit(
  tx: Tx,
  ctx: IssueDeps,
  request: Request,
): Promise<{ intent: CertificateRow } | { waiting: WaitingRequest }> {
  const { profile, csr, names, requestKey } = request
  const now = ctx.clock.now()
  const token = await lockToken(tx, request.token.id)
  if (!token) throw new DomainError('not-allowed', 'The enrollment token is gone')
  const before = await findRequested(tx, requestKey)
  if (before) return { intent: await repeat(tx, before) }
  const { serialNumber } = names
  assertMayAsk(request, serialNumber)
  const approval = isApproved(request)
    ? undefined
    : await approvalOf(tx, { token, profile, csr, serialNumber, now })
  if (approval?.state === 'pending') return { waiting: approval }
  if (approval?.state === 'issued') return { intent: await fetched(tx, approval) }
  await take(tx, { token, profile, now })
  const { device, replacesId } = await resolveDevice(tx, profile, { serialNumber, csr, now })
  assertNamesMatch(csr, names, device)
  await assertKeyIsFree(tx, csr.spki, device.id)
  for (const left of await giveUpOlderIntents(tx, device.id, now)) {
    if (left.enrollment_token_id) await giveBack(tx, left.enrollment_token_id)
  }
  await addMembers(tx, profile.group_id, [device.id], now)
  await assertNotCutOff(tx, device.id)
  const intent = newIntent({
    id: newId(now),
    issuer: ctx.authorities.deviceIssuer(profile.issuer_series),
    urls: ctx.authorities.urls,
    profile: 'device',
    deviceId: device.id,
    ...(replacesId === undefined ? {} : { replacesId }),
    enrollmentTokenId: token.id,
    requestKey,
    subject: subjectFor(device),
    spki: csr.spki,
    san: [deviceIdentity(device.id)],
    days: profile.certificate_days,
    now,
  })
  await saveIntent(tx, intent)
  if (approval) await markIssued(tx, approval.id, requestKey)
  return { intent }
}

/** What the profile says about any request, before anything is looked up or taken. */
function assertMayAsk({ token, profile, csr }: Enrollment, serialNumber: string): void {
  assertKeyPolicy(csr, profile.key_policy)
  assertIdentity(profile, serialNumber)
  if (token.identity !== null && token.identity !== serialNumber) {
    throw new DomainError(
      'not-allowed',
      'The certificate that was presented belongs to another serial number',
    )
  }
}

/** A file of requests that an operator gave in was approved by that. */
function isApproved({ token, profile }: Enrollment): boolean {
  return profile.approval === 'none' || token.kind === 'batch'
}

/** Only a token that could be used now gets a place among those that wait. */
async function approvalOf(tx: Tx, asking: Asking): Promise<WaitingRequest> {
  const waiting = await findWaiting(tx, asking.token.id, asking.csr)
  if (!waiting) {
    assertTokenOpen(asking.token, asking.now)
    assertProfileOpen(await getProfile(tx, asking.profile.id), asking.now)
  }
  return await askForApproval(tx, asking)
}

/** The certificate of an approved request, for a device that signed it anew and lost the first answer. */
async function fetched(tx: Tx, { request_key: key }: WaitingRequest): Promise<CertificateRow> {
  const row = key && (await findRequested(tx, key))
  if (!row) throw new DomainError('not-allowed', 'The certificate of this request is gone')
  return await repeat(tx, row)
}

/** The answer to a repeated request, for a device that is still welcome. */
async function repeat(tx: Tx, row: CertificateRow): Promise<CertificateRow> {
  const device = row.device_id === null ? undefined : await lockDevice(tx, { id: row.device_id })
  if (device?.state !== 'active' && device?.state !== 'registered')
    throw new DomainError('not-allowed', 'This device is enrolled already, or cut off')
  await assertNotCutOff(tx, device.id)
  return row
}

export function assertIdentity({ id_pattern: pattern }: Profile, serialNumber: string): void {
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
    assertTokenOpen(await lockToken(tx, token.id), now)
    throw new DomainError('busy', 'The enrollment token is being used by others')
  }
  if (!(await takeQuota(tx, profile.id, now))) {
    assertProfileOpen(await getProfile(tx, profile.id), now)
    throw new DomainError('busy', 'The enrollment profile is being used by others')
  }
}

function assertTokenOpen(token: Token | undefined, now: Date): void {
  if (!token || (token.expires_at !== null && token.expires_at <= now)) {
    throw new DomainError('not-allowed', 'The enrollment token has expired')
  }
  if (token.max_uses !== null && token.uses >= token.max_uses) {
    throw new DomainError('quota-exhausted', 'The enrollment token is used up')
  }
}

function assertProfileOpen(profile: Profile, now: Date): void {
  const { valid_from: from, valid_until: until, quota, used } = profile
  if ((from && from > now) || (until && until <= now)) {
    throw new DomainError('not-allowed', 'This enrollment profile is not open now')
  }
  if (quota !== null && used >= quota) {
    throw new DomainError('quota-exhausted', 'The quota of this enrollment profile is used up')
  }
}

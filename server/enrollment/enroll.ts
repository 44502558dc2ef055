import { type CertificateRow, saveIntent, spkiHash } from '../certificates/intent.ts'
import { assertKeyIsFree, findRequested, giveUpOlderIntents } from '../certificates/service.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { lockDevice } from '../devices/lifecycle.ts'
import { DomainError } from '../errors.ts'
import { addMembers } from '../groups/service.ts'
import { assertNotCutOff } from '../incidents/cut-off.ts'
import { markIssued, type WaitingRequest } from './approval-store.ts'
import { type Asking, askForApproval, findWaiting, stillWaiting } from './approval.ts'
import {
  assertMayAsk,
  assertProfileOpen,
  assertTokenOpen,
  type Enrollment,
  type EnrollRequest,
  isApproved,
} from './enroll-rules.ts'
import { firstIntent } from './first-intent.ts'
import { queueOf } from './group-queue.ts'
import { type IssueDeps, issueToDevice } from './issue.ts'
import { assertNamesMatch, namesOf, requestKeyOf } from './request.ts'
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
  // Whoever waits for a person is not among those that are taken in groups.
  if (!isApproved(request)) return await enrollAlone(ctx, request)
  return await queueOf(ctx, enrollAlone).enroll(request)
}

/** One request in its own two transactions, with every rule there is. */
async function enrollAlone(ctx: IssueDeps, request: EnrollRequest): Promise<Buffer> {
  const admitted = await inTransaction(ctx.db, (tx) => admit(tx, ctx, request))
  if ('waiting' in admitted) throw stillWaiting(admitted.waiting)
  return await issueToDevice(ctx, admitted.intent)
}

/** Whatever can be answered or refused without the webhook is. What was let through to wait is not asked about each time. */
async function isWorthAsking(ctx: IssueDeps, request: EnrollRequest): Promise<boolean> {
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
  request: EnrollRequest,
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
  const { device, replacesId } = await resolveDevice(tx, profile, { serialNumber, csr, token, now })
  assertNamesMatch(csr, names, device)
  await assertKeyIsFree(tx, csr.spki, device.id)
  for (const left of await giveUpOlderIntents(tx, device.id, now)) {
    if (left.enrollment_token_id) await giveBack(tx, left.enrollment_token_id)
  }
  await addMembers(tx, profile.group_id, [device.id], now)
  await assertNotCutOff(tx, device.id)
  const intent = firstIntent(ctx, { ...request, token }, { device, replacesId, now })
  await saveIntent(tx, intent)
  if (approval) await markIssued(tx, approval.id, requestKey)
  return { intent }
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

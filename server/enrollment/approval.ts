import { createHash } from 'node:crypto'

import type { Csr } from '../../pki/csr/parse.ts'
import { encodeGeneralName } from '../../pki/x509/general-names.ts'
import { recordAudit } from '../audit/audit.ts'
import { spkiHash } from '../certificates/intent.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import {
  countWaiting,
  decide,
  findRequest,
  getRequest,
  insertRequest,
  lockRequest,
  noteSeen,
  type WaitingRequest,
} from './approval-store.ts'
import { decidedState, type RequestAction } from './state.ts'
import type { Profile, Token } from './store.ts'

const maxWaiting = 10_000
/** How often a device should ask while nobody has decided. */
export const retryAfterSeconds = 60

export interface Asking {
  token: Token
  profile: Profile
  csr: Csr
  serialNumber: string
  now: Date
}

/**
 * What makes two requests the same for a person who decides (RFC 7030 §4.2.3): credential, key, subject and subjectAltName. Not the
 * bytes: an ECDSA signature and a channel binding differ each time a device asks.
 */
export function waitingHash(tokenId: string, csr: Csr): Buffer {
  const hash = createHash('sha256').update(`${tokenId}\n`)
  const names = (csr.subjectAltName ?? []).map(encodeGeneralName)
  for (const part of [csr.spki, csr.subject, ...names]) {
    hash.update(`${part.length}\n`).update(part)
  }
  return hash.digest()
}

export async function findWaiting(
  tx: Tx,
  tokenId: string,
  csr: Csr,
): Promise<WaitingRequest | undefined> {
  return await findRequest(tx, { hash: waitingHash(tokenId, csr) })
}

/**
 * Is this request decided? Writes down the first one of its kind, so that somebody can.
 *
 * @returns the request: `pending`, `approved` or `issued`
 * @throws DomainError `not-allowed` when it was denied, `quota-exhausted` when too many wait
 */
export async function askForApproval(tx: Tx, asking: Asking): Promise<WaitingRequest> {
  const { token, csr, now } = asking
  const hash = waitingHash(token.id, csr)
  const before = await lockRequest(tx, { hash })
  if (!before) return await begin(tx, asking, hash)
  switch (before.state) {
    case 'pending':
      await noteSeen(tx, before.id, now)
      return before
    case 'approved':
    case 'issued':
      return before
    case 'denied':
      throw new DomainError('not-allowed', 'This request was denied: ask the operator of the line')
    default:
      throw new DomainError('not-allowed', 'This request cannot be granted')
  }
}

async function begin(tx: Tx, asking: Asking, hash: Buffer): Promise<WaitingRequest> {
  const { token, profile, csr, serialNumber, now } = asking
  await assertRoom(tx, asking)
  const row: WaitingRequest = {
    id: newId(now),
    profile_id: profile.id,
    token_id: token.id,
    request_hash: hash,
    serial_number: serialNumber,
    key_algorithm: csr.publicKey.algorithm,
    spki_sha256: spkiHash(csr.spki),
    state: 'pending',
    request_key: null,
    decided_by: null,
    decided_at: null,
    reason: null,
    created_at: now,
    last_seen_at: now,
  }
  if (!(await insertRequest(tx, row))) {
    throw new DomainError('busy', 'Another request of this device is being worked on')
  }
  const facts = { profileId: profile.id, serialNumber, keySha256: row.spki_sha256.toString('hex') }
  await recordAudit(tx, {
    at: now,
    actor: `token:${token.id}`,
    action: 'enrollment-request.create',
    subject: row.id,
    facts,
  })
  return row
}

/** One credential cannot have more requests waiting than it could use, and no profile more than a person could look at. */
async function assertRoom(tx: Tx, { token, profile }: Asking): Promise<void> {
  const left = token.max_uses === null ? maxWaiting : token.max_uses - token.uses
  const limit = Math.min(left, maxWaiting)
  const profileId = profile.id
  const ofToken = await countWaiting(tx, { profileId, tokenId: token.id, limit })
  const ofProfile = await countWaiting(tx, { profileId, limit: maxWaiting })
  if (ofToken >= limit || ofProfile >= maxWaiting) {
    throw new DomainError('quota-exhausted', 'Too many requests are waiting to be approved')
  }
}

/** The answer while nobody has decided: EST says 202 and Retry-After. */
export function stillWaiting({ id }: WaitingRequest): DomainError {
  return new DomainError('not-ready', 'The request waits to be approved: send it again later', {
    requestId: id,
    retryAfterSeconds,
  })
}

export interface Decision {
  id: string
  action: RequestAction
  reason: string | undefined
  by: { id: string; requestId: string }
}

/**
 * An operator's decision. The same decision again changes nothing; the device gets its certificate when it asks the next
 * time, if everything else still allows it.
 *
 * @throws DomainError `not-found`, `illegal-transition`
 */
export async function decideRequest(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { id, action, reason, by }: Decision,
): Promise<WaitingRequest> {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const before = (await lockRequest(tx, { id })) ?? (await getRequest(tx, id, 'fleet'))
    const isSame = before.state === (action === 'approve' ? 'approved' : 'denied')
    if (isSame) return before
    const state = decidedState(before.state, action)
    const to = state && { state, by: by.id, at: now, reason: reason ?? null }
    const after = to && (await decide(tx, { id, from: before.state }, to))
    if (!after) {
      throw new DomainError(
        'illegal-transition',
        `Cannot ${action} a request that is ${before.state}`,
        { state: before.state },
      )
    }
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: `enrollment-request.${action}`,
      subject: id,
      facts: { from: before.state, serialNumber: before.serial_number, reason: reason ?? null },
      requestId: by.requestId,
    })
    return after
  })
}

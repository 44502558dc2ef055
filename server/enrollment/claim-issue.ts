import { createHash } from 'node:crypto'

import { encodeName } from '../../pki/names.ts'
import { toPem } from '../../pki/pem.ts'
import { claimIdentity } from '../../pki/x509/profiles.ts'
import { recordAudit } from '../audit/audit.ts'
import {
  type CertificateRow,
  completeIntent,
  newIntent,
  saveIntent,
} from '../certificates/intent.ts'
import { assertKeyIsFree, findRequested } from '../certificates/service.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import type { Reach } from '../protocol/reach.ts'
import { claimHash } from './certificate-auth.ts'
import { decodeEstBody } from './est-format.ts'
import type { IssueDeps } from './issue.ts'
import { readRequest } from './request.ts'
import { findToken, getProfile, insertToken, type Token } from './store.ts'

export interface IssueClaim {
  id: string
  profileId: string
  /** A certificate request, PEM or base64. Only its key is taken. */
  csr: string
  days: number
  maxUses: number
  reach: Reach
  actor: string
  requestId: string
}

/**
 * Issues a claim certificate, by an issuer of its own, and registers it with a profile. The same id with the same request again
 * answers the same claim, also after a crash in between.
 *
 * @returns the claim and its certificate, PEM, followed by that of its issuer
 * @throws DomainError `not-ready` while there is no authority for claims, `conflict`, `invalid-request`
 */
export async function issueClaim(
  ctx: IssueDeps,
  command: IssueClaim,
): Promise<{ claim: Token; pem: string }> {
  const { id } = command
  const intent = await inTransaction(ctx.db, (tx) => admit(tx, ctx, command))
  const row = await completeIntent(ctx, intent, {
    onIssued: async (tx, issued) => await register(tx, ctx, command, issued),
  })
  const claim = await findToken(ctx.db, id)
  if (row.state !== 'issued' || !row.der || !claim) {
    throw new DomainError('conflict', 'This claim has ended: make another')
  }
  const issuer = ctx.authorities.find(row.authority_id)?.der
  const chain = [row.der, ...(issuer ? [issuer] : [])]
  return { claim, pem: chain.map((der) => toPem('CERTIFICATE', der)).join('') }
}

async function admit(tx: Tx, ctx: IssueDeps, command: IssueClaim): Promise<CertificateRow> {
  const { id, profileId, days } = command
  const csr = readRequest(decodeEstBody(Buffer.from(command.csr, 'utf8')))
  const requestKey = createHash('sha256').update(`claim\n${id}\n`).update(csr.der).digest()
  const before = await findRequested(tx, requestKey)
  if (before) return before
  const profile = await getProfile(tx, profileId)
  if (profile.auth_type !== 'claim' || profile.trust_anchors.length > 0) {
    throw new DomainError(
      'conflict',
      `${profile.name} does not take claims of this server: make a profile with auth.type "claim" and without trustAnchors`,
    )
  }
  const issuer = ctx.authorities.claims
  if (!issuer) {
    throw new DomainError(
      'not-ready',
      'There is no authority for claims: make one first (fleetseal authority create claims)',
    )
  }
  const now = ctx.clock.now()
  const certificateId = newId(now)
  // No device has this id: the key must be nobody's.
  await assertKeyIsFree(tx, csr.spki, certificateId)
  const intent = newIntent({
    id: certificateId,
    issuer,
    urls: ctx.authorities.urls,
    profile: 'claim',
    requestKey,
    subject: encodeName({ commonName: profile.name }),
    spki: csr.spki,
    san: [claimIdentity(id)],
    days,
    now,
  })
  await saveIntent(tx, intent)
  return intent
}

async function register(
  tx: Tx,
  { clock }: IssueDeps,
  command: IssueClaim,
  { id: certificateId, der, fingerprint, not_after: expiresAt }: CertificateRow,
): Promise<void> {
  const { id, profileId, maxUses, reach, actor, requestId } = command
  if (!der) throw new Error('An issued certificate without its bytes')
  const now = clock.now()
  await insertToken(tx, {
    id,
    profile_id: profileId,
    secret_hash: claimHash(der),
    max_uses: maxUses,
    uses: 0,
    expires_at: expiresAt,
    kind: 'claim',
    certificate: der,
    identity: null,
    limited: reach !== 'fleet',
    created_by: actor,
    created_at: now,
  })
  await recordAudit(tx, {
    at: now,
    actor,
    action: 'enrollment-claim.issue',
    subject: id,
    facts: { profileId, certificateId, fingerprint, maxUses, expiresAt: expiresAt.toISOString() },
    requestId,
  })
}

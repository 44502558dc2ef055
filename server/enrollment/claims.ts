import { validatePath } from '../../pki/path-validate.ts'
import type { Certificate } from '../../pki/x509/parse.ts'
import { fingerprint } from '../../pki/x509/parse.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Reach } from '../protocol/reach.ts'
import { readPem } from './anchors.ts'
import { claimHash } from './certificate-auth.ts'
import {
  findOwnCertificate,
  findToken,
  getProfile,
  insertToken,
  type Profile,
  type Token,
} from './store.ts'

export interface NewClaim {
  id: string
  profileId: string
  /** PEM. */
  certificate: string
  maxUses: number
  reach: Reach
  expiresAt: Date | undefined
  actor: string
  requestId: string
}

/**
 * Registers a claim certificate: shared by the devices of a production run, counted, limited in time, bound to one profile by its
 * exact bytes. It can enroll and do nothing else, because no device belongs to it. The same id again answers the same claim.
 *
 * @throws DomainError `invalid-request`, `conflict` when the profile takes none or the certificate is registered already
 */
export async function registerClaim(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  command: NewClaim,
): Promise<Token> {
  const { id, profileId, maxUses, reach, actor, requestId } = command
  const now = clock.now()
  const [leaf, ...chain] = readPem(command.certificate, 'certificate')
  if (!leaf) throw refused('is missing')
  assertClaim(leaf, now)
  const expiresAt = earlier(command.expiresAt, leaf.notAfter)
  const row = await inTransaction(db, async (tx) => {
    const profile = await getProfile(tx, profileId)
    assertTaken(profile, [leaf, ...chain], now)
    const print = fingerprint(leaf.der)
    if (await findOwnCertificate(tx, print)) throw refused('is one that this server issued')
    const isNew = await insertToken(tx, {
      id,
      profile_id: profileId,
      secret_hash: claimHash(leaf.der),
      max_uses: maxUses,
      uses: 0,
      expires_at: expiresAt,
      kind: 'claim',
      certificate: leaf.der,
      identity: null,
      limited: reach !== 'fleet',
      created_by: actor,
      created_at: now,
    })
    if (isNew) {
      const facts = { profileId, maxUses, fingerprint: print, expiresAt: expiresAt.toISOString() }
      const action = 'enrollment-claim.create'
      await recordAudit(tx, { at: now, actor, action, subject: id, facts, requestId })
    }
    return await findToken(tx, id)
  })
  if (!row) throw new DomainError('conflict', 'This claim certificate is registered already')
  return row
}

function assertTaken(profile: Profile, chain: readonly Certificate[], at: Date): void {
  if (profile.auth_type !== 'claim') {
    throw new DomainError(
      'conflict',
      `Devices do not enroll in ${profile.name} by claim: make a profile with auth.type "claim"`,
    )
  }
  if (profile.trust_anchors.length === 0) return
  const anchors = profile.trust_anchors.map((base64) => Buffer.from(base64, 'base64'))
  const ders = chain.map(({ der }) => der)
  const verdict = validatePath(ders, anchors, { at, purpose: 'clientAuth' })
  if (!verdict.valid) {
    throw refused(`does not lead to a trust anchor of the profile: ${verdict.detail}`)
  }
}

/** Never the certificate of an authority or of a device (pki.md §4). */
function assertClaim(leaf: Certificate, now: Date): void {
  if (leaf.isCa) throw refused('belongs to an authority')
  if (leaf.keyUsage && !leaf.keyUsage.has('digitalSignature')) {
    throw refused('may not be used in a handshake: its key usage lacks digitalSignature')
  }
  const isDevice = leaf.subjectAltName?.some(
    (name) => name.type === 'uri' && name.value.startsWith('urn:uuid:'),
  )
  if (isDevice) throw refused('names a device')
  if (leaf.notAfter <= now) throw refused('has expired')
}

function earlier(a: Date | undefined, b: Date): Date {
  return a && a < b ? a : b
}

function refused(why: string): DomainError {
  const at = 'certificate'
  return new DomainError('invalid-request', `${at} ${why}`, { issues: [{ at, message: why }] })
}

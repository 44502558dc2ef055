import { createHash } from 'node:crypto'
import { TLSSocket } from 'node:tls'

import { oids } from '../../pki/der/oids.ts'
import { PkiError } from '../../pki/errors.ts'
import { readName } from '../../pki/names.ts'
import { validatePath } from '../../pki/path-validate.ts'
import { readHardwareModule } from '../../pki/x509/module-names.ts'
import { type Certificate, fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import { peerOf } from '../peer-certificate.ts'
import { subjectHash } from './anchors.ts'
import {
  findOwnCertificate,
  findProfile,
  findProfilesByAnchor,
  findTokenByHash,
  insertToken,
  type Profile,
  type Token,
} from './store.ts'
import type { Authenticated } from './token-auth.ts'

type Deps = Pick<Context, 'db' | 'clock'>

/**
 * Who is calling, by a certificate that is not one of our devices': a claim certificate by its exact bytes, or a manufacturer's
 * certificate (IDevID) by our own path validation to the anchors of one profile (pki.md §6.2, T6). The completed handshake proved
 * that the caller holds the key. Uses and dates of the credential are taken later, in the transaction that needs them.
 *
 * @returns undefined when this certificate opens nothing here
 */
export async function authenticateCertificate(
  deps: Deps,
  socket: unknown,
  label: string | undefined,
): Promise<Authenticated | undefined> {
  const chain = socket instanceof TLSSocket ? (peerOf(socket)?.chain ?? []) : []
  const certificates = readAll(chain)
  const [leaf] = certificates
  if (!leaf) return undefined
  return (
    (await findClaim(deps, { leaf, chain, label })) ??
    (await findManufacturer(deps, { leaf, certificates, chain, label }))
  )
}

/** By which a claim certificate is known. */
export function claimHash(der: Buffer): Buffer {
  return createHash('sha256').update(der).digest()
}

/** All of a chain, or nothing: half a chain is malformed. */
function readAll(chain: readonly Buffer[]): Certificate[] {
  try {
    return chain.map((der) => parseCertificate(der))
  } catch (error) {
    if (error instanceof PkiError) return []
    throw error
  }
}

async function findClaim(
  { db, clock }: Deps,
  {
    leaf,
    chain,
    label,
  }: { leaf: Certificate; chain: readonly Buffer[]; label: string | undefined },
): Promise<Authenticated | undefined> {
  const token = await findTokenByHash(db, claimHash(leaf.der))
  if (token?.kind !== 'claim' || !token.certificate?.equals(leaf.der)) return undefined
  const profile = await findProfile(db, { id: token.profile_id })
  if (!profile || profile.auth_type !== 'claim') return undefined
  if (label !== undefined && label !== profile.name) return undefined
  const now = clock.now()
  if (now < leaf.notBefore || now > leaf.notAfter) {
    throw new DomainError('not-allowed', 'The claim certificate is not valid now')
  }
  const own = await findOwnCertificate(db, fingerprint(leaf.der))
  if (own && own.state !== 'issued') {
    throw new DomainError('not-allowed', 'The claim certificate was revoked')
  }
  if (profile.trust_anchors.length > 0 && !isTrusted(chain, profile, now)) return undefined
  return { token, profile }
}

async function findManufacturer(
  deps: Deps,
  given: {
    leaf: Certificate
    certificates: Certificate[]
    chain: readonly Buffer[]
    label: string | undefined
  },
): Promise<Authenticated | undefined> {
  const { leaf, certificates, chain, label } = given
  const issuers = certificates.map(({ issuer }) => subjectHash(issuer))
  const candidates = await findProfilesByAnchor(deps.db, { issuers, name: label })
  const now = deps.clock.now()
  const profiles = candidates.filter((profile) => isTrusted(chain, profile, now))
  const [profile, second] = profiles
  if (!profile) return undefined
  if (second) {
    throw new DomainError(
      'not-allowed',
      'Several enrollment profiles take this certificate: put the name of one into the path',
    )
  }
  const identity = identityIn(leaf)
  if (identity === undefined) {
    throw new DomainError(
      'not-allowed',
      'The certificate names no serial number: neither subject serialNumber nor hardwareModuleName',
    )
  }
  return { token: await credentialOf(deps, profile, { leaf, identity }), profile }
}

function isTrusted(chain: readonly Buffer[], profile: Profile, at: Date): boolean {
  const anchors = profile.trust_anchors.map((base64) => Buffer.from(base64, 'base64'))
  return validatePath(chain, anchors, { at, purpose: 'clientAuth' }).valid
}

/**
 * The serial number that a manufacturer certified: of the subject (802.1AR, BRSKI), else of the hardware module. Two that differ
 * name nothing.
 */
export function identityIn({ subject, subjectAltName = [] }: Certificate): string | undefined {
  const inSubject = readName(subject)
    .filter(({ oid }) => oid === oids.serialNumber)
    .map(({ value }) => value)
  try {
    const inModule = subjectAltName.flatMap((name) => {
      const serial = readHardwareModule(name)?.serial
      return serial ? [serial.toString('latin1')] : []
    })
    const [identity, ...others] = inSubject.length > 0 ? inSubject : inModule
    return identity !== undefined && others.length === 0 && /^[\x21-\x7e]{1,64}$/.test(identity)
      ? identity
      : undefined
  } catch (error) {
    if (error instanceof PkiError) return undefined
    throw error
  }
}

/** One row for each certificate that was met: what is counted, named in the audit log, and can be ended. */
async function credentialOf(
  { db, clock }: Deps,
  profile: Profile,
  { leaf, identity }: { leaf: Certificate; identity: string },
): Promise<Token> {
  const hash = createHash('sha256').update(`${profile.id}\n`).update(leaf.der).digest()
  const known = await findTokenByHash(db, hash)
  if (known) return known
  const now = clock.now()
  const token: Token = {
    id: newId(now),
    profile_id: profile.id,
    secret_hash: hash,
    max_uses: null,
    uses: 0,
    expires_at: null,
    kind: 'manufacturer',
    certificate: leaf.der,
    identity,
    limited: profile.limited,
    created_by: 'system',
    created_at: now,
  }
  const isNew = await inTransaction(db, (tx) => insertToken(tx, token))
  const row = isNew ? token : await findTokenByHash(db, hash)
  if (!row) throw new DomainError('busy', 'Another request of this device is being worked on')
  return row
}

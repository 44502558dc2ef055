import { hash } from 'node:crypto'

import { oids } from '../../pki/der/oids.ts'
import { PkiError } from '../../pki/errors.ts'
import { readName } from '../../pki/names.ts'
import type { GeneralName } from '../../pki/x509/general-names.ts'
import { newSerial, signCertificate } from '../../pki/x509/issue.ts'
import { lintTbs } from '../../pki/x509/lint.ts'
import { fingerprint } from '../../pki/x509/parse.ts'
import { buildTbs } from '../../pki/x509/profiles.ts'
import type { Authorities, Issuer, PublicUrls } from '../authorities/authorities.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { signed } from '../measured.ts'
import type { Metrics } from '../metrics.ts'
import { deviceShard } from './shards.ts'
import { type CertificateRow, getCertificate, insertPending, markIssued } from './store.ts'

export type { CertificateRow } from './store.ts'

/** Devices and servers may have clocks that are a little behind. */
const backDatingMs = 300_000
const dayMs = 86_400_000

/** What goes into a certificate. Everything comes from our records, except the key. */
export interface IntentInput {
  id: string
  issuer: Issuer
  profile: 'device' | 'server' | 'ocsp-responder' | 'claim' | 'scep-ra'
  /** Name, DER. */
  subject: Buffer
  /** SubjectPublicKeyInfo, DER. */
  spki: Buffer
  /** For RSA devices that speak SCEP: answers are encrypted to the key (pki.md §4). */
  keyEncipherment?: boolean
  san: readonly GeneralName[]
  /** How long it is valid; cut at the end of the issuer's own validity. */
  days: number
  now: Date
  urls: PublicUrls
  deviceId?: string
  replacesId?: string
  enrollmentTokenId?: string
  /** 32 bytes; see `findByRequestKey`. */
  requestKey?: Buffer
}

/**
 * The row of a certificate that is about to be issued: serial and to-be-signed bytes are fixed here, and checked (pki.md
 * section 5, steps 3 to 5). Pure, so it may be made inside the transaction that stores it.
 *
 * @throws DomainError `invalid-request` when the final bytes break a rule, such as a CA's own key asked for
 */
export function newIntent(input: IntentInput): CertificateRow {
  const { issuer, profile, spki, subject, now } = input
  const serial = newSerial()
  const shard = profile === 'device' ? deviceShard(serial) : undefined
  const notBefore = wholeSeconds(now.getTime() - backDatingMs)
  const latest = issuer.certificate.notAfter.getTime()
  const notAfter = wholeSeconds(Math.min(now.getTime() + input.days * dayMs - backDatingMs, latest))
  const { subject: name, subjectKeyId: keyId } = issuer.certificate
  if (!keyId) throw new Error('An issuer without a subject key identifier')
  const tbs = buildTbs(profile, {
    serial,
    issuer: { name, keyId },
    subject,
    spki,
    notBefore,
    notAfter,
    san: input.san,
    keyEncipherment: input.keyEncipherment ?? false,
    // Nobody asks for the status of a responder (RFC 6960 §4.2.2.2.1): it ends soon by itself.
    ...(profile === 'ocsp-responder' ? {} : { crlUrl: input.urls.crl(issuer.id, { shard }) }),
    aiaUrl: input.urls.issuer(issuer.id),
    ...(profile === 'device' ? { ocspUrl: input.urls.ocsp() } : {}),
    signatureAlgorithm: issuer.signer.algorithm,
  })
  assertClean(lintTbs(tbs, profile, issuer.certificate))
  linted.set(tbs, issuer.id)
  return {
    id: input.id,
    authority_id: issuer.id,
    serial,
    kind: profile,
    state: 'pending',
    device_id: input.deviceId ?? null,
    replaces_id: input.replacesId ?? null,
    enrollment_token_id: input.enrollmentTokenId ?? null,
    spki_sha256: spkiHash(spki),
    request_key: input.requestKey ?? null,
    tbs,
    der: null,
    fingerprint: null,
    subject: subjectText(subject),
    not_before: notBefore,
    not_after: notAfter,
    revoked_at: null,
    revocation_reason: null,
    crl_shard: shard ?? null,
    revocation_rev: 0,
    held_state: null,
    created_at: now,
  }
}

/** Bytes that were made and linted in this process, and for which issuer; what comes back from the database is linted again. */
const linted = new WeakMap<Buffer, string>()

/** Stores an intent. Nothing is signed without this row being committed. */
export async function saveIntent(tx: Tx, row: CertificateRow): Promise<void> {
  await insertPending(tx, row)
}

type Deps = Pick<Context, 'db' | 'clock'> & {
  metrics?: Pick<Metrics, 'signing'>
  authorities: Pick<Authorities, 'devices' | 'servers' | 'find'>
}

export interface Completion {
  /** Locks what `onIssued` will change, before the certificate itself: always in this order. */
  lock?: (tx: Tx) => Promise<void>
  /** What is written together with the certificate; when it throws, the intent stays pending. */
  onIssued: (tx: Tx, issued: CertificateRow) => Promise<void>
}

/**
 * Signs a stored intent and stores the certificate, together with what `onIssued` writes. Whoever finds a pending intent may
 * call this, after a crash or at the same time: the bytes signed are the same, and one of the results is kept.
 *
 * @returns the row as it is then; not necessarily issued, when it was abandoned meanwhile
 */
export async function completeIntent(
  deps: Deps,
  row: CertificateRow,
  { lock, onIssued }: Completion,
): Promise<CertificateRow> {
  if (row.state !== 'pending') return row
  const der = await signIntent(deps, row)
  return await inTransaction(deps.db, async (tx) => {
    await lock?.(tx)
    const issued = await markIssued(tx, row.id, { der, fingerprint: fingerprint(der) })
    if (!issued) return await getCertificate(tx, row.id)
    await onIssued(tx, issued)
    return issued
  })
}

/**
 * The certificate of an intent that is stored, not kept anywhere yet.
 *
 * @returns DER
 * @throws DomainError `busy` when the signer is not available, `invalid-request` for bytes that break a rule
 */
export async function signIntent(
  { authorities, metrics }: Pick<Deps, 'authorities' | 'metrics'>,
  row: CertificateRow,
): Promise<Buffer> {
  const issuer = issuerOf(authorities, row.authority_id)
  if (linted.get(row.tbs) !== issuer.id) {
    assertClean(lintTbs(row.tbs, row.kind, issuer.certificate))
  }
  return await signed(metrics, 'certificate', async () => await sign(row.tbs, issuer))
}

export function spkiHash(spki: Buffer): Buffer {
  return hash('sha256', spki, 'buffer')
}

function issuerOf({ devices, servers, find }: Deps['authorities'], id: string): Issuer {
  // Another authority may have taken over since the intent was stored: it is finished by the one that began it.
  const issuer = [devices, servers].find((candidate) => candidate.id === id) ?? find(id)
  if (!issuer) throw new DomainError('busy', 'The authority of this certificate is not available')
  return issuer
}

async function sign(tbs: Buffer, { signer }: Issuer): Promise<Buffer> {
  try {
    return await signCertificate(tbs, signer)
  } catch (error) {
    throw new DomainError('busy', 'The signer is not available', {}, { cause: error })
  }
}

function assertClean(findings: readonly string[]): void {
  if (findings.length === 0) return
  throw new DomainError('invalid-request', `No certificate can be made: ${findings[0]}`, {
    findings: findings.slice(0, 10),
  })
}

/** X.509 times have no fractions. */
function wholeSeconds(ms: number): Date {
  return new Date(Math.floor(ms / 1000) * 1000)
}

const shortNames: Readonly<Record<string, string>> = {
  [oids.commonName]: 'CN',
  [oids.organization]: 'O',
  [oids.serialNumber]: 'serialNumber',
}

/** For people who read lists; nothing is decided by it. */
function subjectText(subject: Buffer): string {
  try {
    return readName(subject)
      .map(({ oid, value }) => `${shortNames[oid] ?? oid}=${value}`)
      .join(', ')
  } catch (error) {
    if (error instanceof PkiError) return ''
    throw error
  }
}

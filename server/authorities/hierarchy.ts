import { type KeyObject, randomBytes } from 'node:crypto'

import { generatePrivateKey, type KeyAlgorithm } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { softwareSigner } from '../../pki/signer.ts'
import { wrapKey } from '../../pki/wrap.ts'
import { newSerial, signCertificate } from '../../pki/x509/issue.ts'
import { lintTbs } from '../../pki/x509/lint.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { buildTbs, type ProfileName, type TbsInput } from '../../pki/x509/profiles.ts'
import { newId } from '../ids.ts'
import type { Issuer, PublicUrls } from './authorities.ts'
import type { AuthorityPurpose, AuthorityState } from './state.ts'
import type { AuthorityRow } from './store.ts'

const dayMs = 86_400_000
const backDatingMs = 300_000
const rootYears = 20
const issuerYears = 8

/** What the wrapped key of an authority is bound to. */
export const authorityKeyContext = (id: string) => `authority:${id}`

interface Making {
  kek: Buffer
  now: Date
  urls: PublicUrls
}

/**
 * A new root (P-384) with an issuer for devices and one for servers (P-256), private keys wrapped (pki.md section 4). Nothing
 * is stored here.
 */
export async function makeHierarchy(making: Making): Promise<AuthorityRow[]> {
  const mark = newMark()
  const root = await makeAuthority({ ...making, purpose: 'root', mark })
  const { issuer } = root
  const devices = await makeAuthority({ ...making, purpose: 'devices', mark, issuer })
  const servers = await makeAuthority({ ...making, purpose: 'servers', mark, issuer })
  return [root.row, devices.row, servers.row]
}

/** Two authorities must not have the same name: some clients look issuers up by name. */
export function newMark(): string {
  return randomBytes(4).toString('hex')
}

const kinds = {
  root: { profile: 'root', algorithm: 'P-384', years: rootYears, name: 'Fleetseal Root' },
  devices: {
    profile: 'issuing',
    algorithm: 'P-256',
    years: issuerYears,
    name: 'Fleetseal Devices',
  },
  servers: {
    profile: 'issuing',
    algorithm: 'P-256',
    years: issuerYears,
    name: 'Fleetseal Servers',
  },
  claims: {
    profile: 'issuing',
    algorithm: 'P-256',
    years: issuerYears,
    name: 'Fleetseal Claims',
  },
} as const satisfies Record<
  AuthorityPurpose,
  { profile: ProfileName; algorithm: KeyAlgorithm; years: number; name: string }
>

/** An authority with a new key. Nothing is stored here. Throws when it would break its profile. */
export async function makeAuthority(
  input: Making & {
    id?: string
    purpose: AuthorityPurpose
    state?: AuthorityState
    mark: string
    issuer?: Issuer
  },
): Promise<{ row: AuthorityRow; issuer: Issuer }> {
  const { kek, now, urls, purpose, issuer, id = newId(now), state = 'active' } = input
  const { profile, years } = kinds[purpose]
  const { name, subject, key, signer } = newAuthorityKey(purpose, input.mark)
  const latest = issuer?.certificate.notAfter.getTime() ?? Infinity
  const tbs = buildTbs(profile, {
    serial: newSerial(),
    ...(issuer ? issuedBy(issuer, urls) : {}),
    subject,
    spki: signer.spki,
    notBefore: wholeSeconds(now.getTime() - backDatingMs),
    notAfter: wholeSeconds(Math.min(now.getTime() + years * 365 * dayMs, latest)),
    signatureAlgorithm: (issuer ?? { signer }).signer.algorithm,
  })
  const findings = lintTbs(tbs, profile, issuer?.certificate)
  if (findings.length > 0)
    throw new Error(`The ${purpose} authority breaks a rule: ${findings.join('; ')}`)
  const der = await signCertificate(tbs, (issuer ?? { signer }).signer)
  const row: AuthorityRow = {
    id,
    purpose,
    name,
    state,
    issuer_id: issuer?.id ?? null,
    certificate: der,
    wrapped_key: wrapAuthorityKey(kek, id, key),
    created_at: now,
    changed_at: now,
  }
  return { row, issuer: { id, der, certificate: parseCertificate(der), signer } }
}

/** Key and name of an authority to be. */
export function newAuthorityKey(purpose: AuthorityPurpose, mark: string) {
  const { algorithm, name: kind } = kinds[purpose]
  const name = `${kind} ${mark}`
  const key = generatePrivateKey(algorithm)
  const subject = encodeName({ organization: 'Fleetseal', commonName: name })
  return { name, subject, key, signer: softwareSigner(key) }
}

export function wrapAuthorityKey(kek: Buffer, id: string, key: KeyObject): Buffer {
  return wrapKey(kek, key.export({ type: 'pkcs8', format: 'der' }), authorityKeyContext(id))
}

function issuedBy({ id, certificate }: Issuer, urls: PublicUrls): Partial<TbsInput> {
  const { subject: name, subjectKeyId: keyId } = certificate
  if (!keyId) throw new Error('An issuer without a subject key identifier')
  return { issuer: { name, keyId }, crlUrl: urls.crl(id), aiaUrl: urls.issuer(id) }
}

function wholeSeconds(ms: number): Date {
  return new Date(Math.floor(ms / 1000) * 1000)
}

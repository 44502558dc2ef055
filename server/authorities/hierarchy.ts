import { randomBytes } from 'node:crypto'

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
import type { AuthorityRow } from './store.ts'

const dayMs = 86_400_000
const backDatingMs = 300_000
const rootYears = 20
const issuerYears = 8

/** What the wrapped key of an authority is bound to. */
export const authorityKeyContext = (id: string) => `authority:${id}`

/**
 * A new root (P-384) with an issuer for devices and one for servers (P-256), private keys wrapped (pki.md section 4). Nothing
 * is stored here.
 */
export async function makeHierarchy({
  kek,
  now,
  urls,
}: {
  kek: Buffer
  now: Date
  urls: PublicUrls
}): Promise<AuthorityRow[]> {
  // Two installations must not have authorities of the same name: some clients look issuers up by name.
  const mark = randomBytes(4).toString('hex')
  const root = await makeAuthority({ kek, now, urls, purpose: 'root', mark })
  const devices = await makeAuthority({
    kek,
    now,
    urls,
    purpose: 'devices',
    mark,
    issuer: root.issuer,
  })
  const servers = await makeAuthority({
    kek,
    now,
    urls,
    purpose: 'servers',
    mark,
    issuer: root.issuer,
  })
  return [root.row, devices.row, servers.row]
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
} as const satisfies Record<
  AuthorityRow['purpose'],
  { profile: ProfileName; algorithm: KeyAlgorithm; years: number; name: string }
>

async function makeAuthority(input: {
  kek: Buffer
  now: Date
  urls: PublicUrls
  purpose: AuthorityRow['purpose']
  mark: string
  issuer?: Issuer
}): Promise<{ row: AuthorityRow; issuer: Issuer }> {
  const { kek, now, urls, purpose, mark, issuer } = input
  const { profile, algorithm, years, name } = kinds[purpose]
  const id = newId(now)
  const commonName = `${name} ${mark}`
  const key = generatePrivateKey(algorithm)
  const signer = softwareSigner(key)
  const tbs = buildTbs(profile, {
    serial: newSerial(),
    ...(issuer ? issuedBy(issuer, urls) : {}),
    subject: encodeName({ organization: 'Fleetseal', commonName }),
    spki: signer.spki,
    notBefore: wholeSeconds(now.getTime() - backDatingMs),
    notAfter: wholeSeconds(now.getTime() + years * 365 * dayMs),
    signatureAlgorithm: (issuer ?? { signer }).signer.algorithm,
  })
  const findings = lintTbs(tbs, profile, issuer?.certificate)
  if (findings.length > 0)
    throw new Error(`The ${purpose} authority breaks a rule: ${findings.join('; ')}`)
  const der = await signCertificate(tbs, (issuer ?? { signer }).signer)
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' })
  const row: AuthorityRow = {
    id,
    purpose,
    name: commonName,
    issuer_id: issuer?.id ?? null,
    certificate: der,
    wrapped_key: wrapKey(kek, pkcs8, authorityKeyContext(id)),
    created_at: now,
  }
  return { row, issuer: { id, der, certificate: parseCertificate(der), signer } }
}

function issuedBy({ id, certificate }: Issuer, urls: PublicUrls): Partial<TbsInput> {
  const { subject: name, subjectKeyId: keyId } = certificate
  if (!keyId) throw new Error('An issuer without a subject key identifier')
  return { issuer: { name, keyId }, crlUrl: urls.crl(id), aiaUrl: urls.issuer(id) }
}

function wholeSeconds(ms: number): Date {
  return new Date(Math.floor(ms / 1000) * 1000)
}

import { randomBytes } from 'node:crypto'

import { encodeName } from '../../pki/names.ts'
import { newSerial, signCertificate } from '../../pki/x509/issue.ts'
import { lintTbs } from '../../pki/x509/lint.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { buildTbs, type ProfileName, type TbsInput } from '../../pki/x509/profiles.ts'
import type { Config } from '../config.ts'
import { newId } from '../ids.ts'
import type { Issuer, PublicUrls } from './authorities.ts'
import { defaultAlgorithm, newAuthorityKey } from './authority-key.ts'
import {
  type AuthorityAlgorithm,
  type AuthorityPurpose,
  type AuthorityState,
  defaultSeries,
} from './state.ts'
import type { AuthorityRow } from './store.ts'

const dayMs = 86_400_000
const backDatingMs = 300_000
const rootYears = 20
const issuerYears = 8

interface Making {
  kek: Buffer
  now: Date
  urls: PublicUrls
  config: Pick<Config, 'pkcs11'>
}

/** What a person may choose of a new authority. */
export interface Choices {
  series?: string | undefined
  algorithm?: AuthorityAlgorithm | undefined
  keyUri?: string | undefined
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
  root: { profile: 'root', years: rootYears, name: 'Fleetseal Root' },
  devices: { profile: 'issuing', years: issuerYears, name: 'Fleetseal Devices' },
  servers: { profile: 'issuing', years: issuerYears, name: 'Fleetseal Servers' },
  claims: { profile: 'issuing', years: issuerYears, name: 'Fleetseal Claims' },
} as const satisfies Record<AuthorityPurpose, { profile: ProfileName; years: number; name: string }>

/** An authority with a new key. Nothing is stored here. Throws when it would break its profile. */
export async function makeAuthority(
  input: Making &
    Choices & {
      id?: string
      purpose: AuthorityPurpose
      state?: AuthorityState
      mark: string
      issuer?: Issuer
    },
): Promise<{ row: AuthorityRow; issuer: Issuer }> {
  const { now, urls, purpose, issuer, id = newId(now), state = 'active' } = input
  const { profile, years } = kinds[purpose]
  const { name, subject, series } = authorityName(purpose, input)
  const { signer, stored } = await newAuthorityKey({
    ...input,
    id,
    algorithm: input.algorithm ?? (issuer ? defaultAlgorithm(issuer.certificate) : 'P-384'),
  })
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
    series,
    state,
    issuer_id: issuer?.id ?? null,
    certificate: der,
    ...stored,
    ...untouched,
    created_at: now,
    changed_at: now,
  }
  return { row, issuer: { id, der, certificate: parseCertificate(der), signer } }
}

/** What has not happened to a new authority. */
export const untouched = {
  revoked_at: null,
  revocation_reason: null,
  key_destroyed_at: null,
} satisfies Partial<AuthorityRow>

/** Name of an authority to be. */
export function authorityName(
  purpose: AuthorityPurpose,
  { series = defaultSeries, mark }: { series?: string | undefined; mark: string },
): { name: string; subject: Buffer; series: string } {
  const { name: kind } = kinds[purpose]
  const name = [kind, ...(series === defaultSeries ? [] : [series]), mark].join(' ')
  return { name, series, subject: encodeName({ organization: 'Fleetseal', commonName: name }) }
}

function issuedBy({ id, certificate }: Issuer, urls: PublicUrls): Partial<TbsInput> {
  const { subject: name, subjectKeyId: keyId } = certificate
  if (!keyId) throw new Error('An issuer without a subject key identifier')
  return { issuer: { name, keyId }, crlUrl: urls.crl(id), aiaUrl: urls.issuer(id) }
}

function wholeSeconds(ms: number): Date {
  return new Date(Math.floor(ms / 1000) * 1000)
}

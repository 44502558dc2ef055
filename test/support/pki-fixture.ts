import type { KeyObject } from 'node:crypto'
import { sign } from 'node:crypto'

import { expect } from 'vitest'

import { signatureAlgorithmOf } from '../../pki/algorithms.ts'
import { oids } from '../../pki/der/oids.ts'
import { encodeTime } from '../../pki/der/time.ts'
import {
  bitString,
  contextConstructed,
  integer,
  oid,
  sequence,
  setOf,
} from '../../pki/der/writer.ts'
import type { PkiErrorCode } from '../../pki/errors.ts'
import { PkiError } from '../../pki/errors.ts'
import type { KeyAlgorithm } from '../../pki/keys.ts'
import { generatePrivateKey, keyIdentifier, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import type { Signer } from '../../pki/signer.ts'
import { softwareSigner } from '../../pki/signer.ts'
import { encodeAuthorityKeyId, encodeExtension } from '../../pki/x509/extension-writer.ts'
import { newSerial, signCertificate } from '../../pki/x509/issue.ts'
import type { Certificate } from '../../pki/x509/parse.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { ProfileName, TbsInput } from '../../pki/x509/profiles.ts'
import { buildTbs, deviceIdentity } from '../../pki/x509/profiles.ts'

export const now = new Date('2026-03-01T12:00:00Z')
export const deviceId = '5f0c9a6e-0b5d-4c63-9d3a-0123456789ab'
export const crlUrl = 'http://localhost:8080/crl/1.crl'
export const aiaUrl = 'http://localhost:8080/ca/1.cer'

export function daysFrom(at: Date, days: number): Date {
  return new Date(at.getTime() + days * 86_400_000)
}

export interface Authority {
  readonly certificate: Certificate
  readonly signer: Signer
}

export async function makeRoot(
  algorithm: KeyAlgorithm = 'P-384',
  commonName = 'Test Root',
): Promise<Authority> {
  const signer = softwareSigner(generatePrivateKey(algorithm))
  const tbs = buildTbs('root', {
    serial: newSerial(),
    subject: encodeName({ organization: 'Test', commonName }),
    spki: signer.spki,
    notBefore: daysFrom(now, -10),
    notAfter: daysFrom(now, 20 * 365),
    signatureAlgorithm: signer.algorithm,
  })
  return { signer, certificate: parseCertificate(await signCertificate(tbs, signer)) }
}

export async function makeIssuer(
  root: Authority,
  overrides: Partial<TbsInput> = {},
  algorithm: KeyAlgorithm = 'P-256',
): Promise<Authority> {
  const signer = softwareSigner(generatePrivateKey(algorithm))
  const tbs = buildTbs('issuing', {
    ...issuedBy(root),
    subject: encodeName({ organization: 'Test', commonName: 'Test Devices' }),
    spki: signer.spki,
    notBefore: daysFrom(now, -9),
    notAfter: daysFrom(now, 5 * 365),
    crlUrl,
    aiaUrl,
    ...overrides,
  })
  return { signer, certificate: parseCertificate(await signCertificate(tbs, root.signer)) }
}

/** Serial, issuer and algorithm for a certificate that `authority` is to sign. */
export function issuedBy({ certificate, signer }: Authority) {
  const { subject, subjectKeyId } = certificate
  return {
    serial: newSerial(),
    issuer: { name: subject, keyId: subjectKeyId ?? keyIdentifier(signer.spki) },
    signatureAlgorithm: signer.algorithm,
  }
}

export function deviceInput(issuer: Authority, spki: Buffer): TbsInput {
  return {
    ...issuedBy(issuer),
    subject: encodeName({ organization: 'Test', commonName: 'Pump 7', serialNumber: 'SN-7' }),
    spki,
    notBefore: new Date(now.getTime() - 300_000),
    notAfter: daysFrom(now, 90),
    san: [deviceIdentity(deviceId)],
    crlUrl,
    aiaUrl,
  }
}

export function serverInput(issuer: Authority, spki: Buffer): TbsInput {
  return {
    ...deviceInput(issuer, spki),
    subject: encodeName({ commonName: 'localhost' }),
    notAfter: daysFrom(now, 89),
    san: [
      { type: 'dns', value: 'localhost' },
      { type: 'ip', value: Buffer.from([127, 0, 0, 1]) },
    ],
  }
}

export async function issue(
  profile: ProfileName,
  issuer: Authority,
  input: TbsInput,
): Promise<Certificate> {
  return parseCertificate(await signCertificate(buildTbs(profile, input), issuer.signer))
}

export interface RawTbs {
  version?: Buffer
  serial?: Buffer
  algorithm?: Buffer
  issuer?: Buffer
  validity?: Buffer
  subject?: Buffer
  spki?: Buffer
  extensions?: Buffer[]
  tail?: Buffer
}

/** A to-be-signed certificate with whatever parts a test wants, valid or not. */
export function rawTbs(issuer: Authority, parts: RawTbs = {}): Buffer {
  const validity = sequence(encodeTime(daysFrom(now, -1)), encodeTime(daysFrom(now, 30)))
  return sequence(
    parts.version ?? contextConstructed(0, integer(2)),
    parts.serial ?? integer(newSerial()),
    parts.algorithm ?? issuer.signer.algorithm,
    parts.issuer ?? issuer.certificate.subject,
    parts.validity ?? validity,
    parts.subject ?? encodeName({ commonName: 'Raw' }),
    parts.spki ?? spkiOf(generatePrivateKey('P-256')),
    contextConstructed(3, sequence(...(parts.extensions ?? rawExtensions(issuer)))),
    parts.tail ?? Buffer.alloc(0),
  )
}

export function rawExtensions(issuer: Authority): Buffer[] {
  return [
    encodeExtension(oids.basicConstraints, true, Buffer.from('3000', 'hex')),
    encodeExtension(oids.keyUsage, true, Buffer.from('03020780', 'hex')),
    encodeAuthorityKeyId(keyIdentifier(issuer.signer.spki)),
  ]
}

/** Signs anything, unlike `signCertificate`. */
export async function signRaw(tbs: Buffer, { signer }: Authority): Promise<Buffer> {
  return sequence(tbs, signer.algorithm, bitString(await signer.sign(tbs)))
}

export interface RawCsr {
  version?: Buffer
  subject?: Buffer
  spki?: Buffer
  /** The whole `[0]` element; empty to leave it out. */
  attributes?: Buffer
  algorithm?: Buffer
  signature?: (info: Buffer) => Buffer
  tail?: Buffer
}

export const ecdsaWithSha256 = Buffer.from('300a06082a8648ce3d040302', 'hex')

/** A request with whatever parts a test wants, properly signed unless it says otherwise. */
export function rawCsr(key: KeyObject, parts: RawCsr = {}): Buffer {
  const info = sequence(
    parts.version ?? integer(0),
    parts.subject ?? encodeName({ commonName: 'Pump 7' }),
    parts.spki ?? spkiOf(key),
    parts.attributes ?? contextConstructed(0),
  )
  const algorithm = parts.algorithm ?? ecdsaWithSha256
  const digest = signatureAlgorithmOf(algorithm)?.digest
  const signature =
    parts.signature?.(info) ?? sign(digest === undefined ? 'sha256' : digest, info, key)
  return sequence(info, algorithm, bitString(signature), parts.tail ?? Buffer.alloc(0))
}

export function attribute(type: string, ...values: Buffer[]): Buffer {
  return sequence(oid(type), setOf(...values))
}

export function extensionRequest(...extensions: Buffer[]): Buffer {
  return attribute(oids.extensionRequest, sequence(...extensions))
}

/** Expects a PkiError with one of the codes; any other outcome fails the test. */
export function expectRefusal(run: () => unknown, ...codes: PkiErrorCode[]): PkiError {
  try {
    run()
  } catch (error) {
    expect(error).toBeInstanceOf(PkiError)
    if (!(error instanceof PkiError)) throw error
    expect(codes).toContain(error.code)
    return error
  }
  throw new Error('Nothing was refused')
}

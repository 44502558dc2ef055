import type { KeyObject } from 'node:crypto'

import type { CertificateId } from '../../pki/cms/certificate-id.ts'
import { idOfCertificate } from '../../pki/cms/certificate-id.ts'
import type { KeyAlgorithm } from '../../pki/keys.ts'
import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import type { Signer } from '../../pki/signer.ts'
import { softwareSigner } from '../../pki/signer.ts'
import type { Authority } from './pki-fixture.ts'
import { deviceInput, issue } from './pki-fixture.ts'

/** Somebody with a key and a certificate for it. */
export interface Party {
  readonly key: KeyObject
  readonly spki: Buffer
  readonly signer: Signer
  /** DER. */
  readonly certificate: Buffer
  readonly id: CertificateId
}

export async function makeParty(issuer: Authority, algorithm: KeyAlgorithm): Promise<Party> {
  const key = generatePrivateKey(algorithm)
  const spki = spkiOf(key)
  const { der } = await issue('device', issuer, deviceInput(issuer, spki))
  return { key, spki, signer: softwareSigner(key), certificate: der, id: idOfCertificate(der) }
}

/** PKCS #8 as PEM, for openssl. */
export function privatePem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString()
}

/** A copy of `bytes` with the only occurrence of `from` replaced; fails when it is not there once. */
export function replaceOnce(bytes: Buffer, from: Buffer, to: Buffer): Buffer {
  const at = bytes.indexOf(from)
  if (at < 0 || bytes.indexOf(from, at + 1) >= 0) throw new Error('Not there exactly once')
  return Buffer.concat([bytes.subarray(0, at), to, bytes.subarray(at + from.length)])
}

import type { KeyAlgorithm } from '../../pki/keys.ts'
import { generatePrivateKey } from '../../pki/keys.ts'
import type { OcspResponder, SerialStatus } from '../../pki/ocsp/answer.ts'
import { ocspResponder } from '../../pki/ocsp/answer.ts'
import { softwareSigner } from '../../pki/signer.ts'
import type { Authority } from './pki-fixture.ts'
import { daysFrom, issue, now } from './pki-fixture.ts'
import { leafInput } from './profile-inputs.ts'

/** A responder that the issuer certified. */
export async function makeResponder(
  issuer: Authority,
  algorithm: KeyAlgorithm = 'P-256',
): Promise<OcspResponder> {
  const signer = softwareSigner(generatePrivateKey(algorithm))
  const input = leafInput('ocsp-responder', issuer, signer.spki)
  const certificate = await issue('ocsp-responder', issuer, input)
  return ocspResponder(issuer.certificate, certificate, signer)
}

export const validity = { thisUpdate: now, nextUpdate: daysFrom(now, 1) }
export const good = { status: 'good', ...validity } satisfies SerialStatus
export const unknown = { status: 'unknown', ...validity } satisfies SerialStatus
export const revoked = {
  status: 'revoked',
  revokedAt: daysFrom(now, -1),
  reason: 1,
  ...validity,
} satisfies SerialStatus

import { z } from 'zod'

import { deploymentStates } from './deployment.ts'

/** The signed report (updates.md section 4, step 13): a compact JWS (RFC 7515) by the device's key over what it claims. */
export const proofType = 'fleetseal-report+jws'
/** An ML-DSA-87 signature alone takes 6,170 of them. */
export const maxProofLength = 8_192

/** In these a device has the last word about a deployment, and signs it. */
export const provenStates = ['succeeded', 'failed_final'] as const

export const ProofClaims = z.strictObject({
  deploymentId: z.uuid(),
  state: z.enum(deploymentStates),
  /** Of the image that runs. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  svn: z.int().min(0),
  /** As in the report. */
  at: z.iso.datetime().max(40),
  /** Rises with every message of a device. */
  counter: z.int().min(0),
  code: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
    .optional(),
})
export type ProofClaims = z.infer<typeof ProofClaims>

/** The one JWS algorithm of a kind of key (RFC 7518, RFC 8037; ML-DSA as jose names it); undefined when there is none. */
export function proofAlgorithm(key: {
  asymmetricKeyType?: string | undefined
  asymmetricKeyDetails?: { namedCurve?: string | undefined } | undefined
}): string | undefined {
  const { asymmetricKeyType: type = '' } = key
  switch (type) {
    case 'ec':
      return curves.get(key.asymmetricKeyDetails?.namedCurve ?? '')
    case 'ed25519':
      return 'EdDSA'
    case 'rsa':
      return 'RS256'
    case 'ml-dsa-44':
    case 'ml-dsa-65':
    case 'ml-dsa-87':
      return type.toUpperCase()
    default:
      return undefined
  }
}

const curves = new Map([
  ['prime256v1', 'ES256'],
  ['secp384r1', 'ES384'],
  ['secp521r1', 'ES512'],
])

import { createRemoteJWKSet, customFetch } from 'jose'

import { boundedFetch } from './http/bounded-fetch.ts'

/** Signatures that anybody can verify and nobody but the issuer can make: never a shared secret, never none (RFC 8725 §3.1). */
export const signatureAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
]

/** The keys of an issuer could not be had: no verdict on what they should have verified. */
export class KeysUnavailable extends Error {
  override readonly name = 'KeysUnavailable'
}

export type RemoteKeys = ReturnType<typeof createRemoteJWKSet>

/** The keys that an issuer publishes (RFC 7517), kept for ten minutes; asked for again at most every 30 s for a key that is not among them. */
export function remoteKeys(uri: string): RemoteKeys {
  return createRemoteJWKSet(new URL(uri), {
    [customFetch]: async (url, options) => {
      const response = await boundedFetch(url, options).catch((cause: unknown) => {
        throw new KeysUnavailable('The keys do not arrive', { cause })
      })
      if (response.status === 200) return response
      throw new KeysUnavailable(`The keys are answered with ${response.status}`)
    },
  })
}

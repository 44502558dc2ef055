import { createPrivateKey } from 'node:crypto'

import { generatePrivateKey, keyFamilyIn } from '../../pki/keys.ts'
import { type TokenAlgorithm, tokenAlgorithms } from '../../pki/pkcs11.ts'
import { type Signer, softwareSigner } from '../../pki/signer.ts'
import { unwrapKey, wrapKey } from '../../pki/wrap.ts'
import { type Certificate, parseCertificate } from '../../pki/x509/parse.ts'
import type { Config } from '../config.ts'
import { DomainError } from '../errors.ts'
import type { AuthorityAlgorithm } from './state.ts'
import type { AuthorityRow } from './store.ts'
import { makeTokenKey, tokenSigner } from './token-keys.ts'

/** What the wrapped key of an authority is bound to. */
export const authorityKeyContext = (id: string) => `authority:${id}`

/** The key of an authority as it is stored: wrapped, or as the place in a token. */
export interface StoredKey {
  wrapped_key: Buffer | null
  key_uri: string | null
}

/**
 * A new key for an authority, in memory or in the token that the URI names. Nothing is stored here.
 *
 * @throws DomainError `invalid-request`, `busy`; see token-keys.ts
 */
export async function newAuthorityKey(making: {
  kek: Buffer
  config: Pick<Config, 'pkcs11'>
  id: string
  algorithm: AuthorityAlgorithm
  keyUri?: string | undefined
}): Promise<{ signer: Signer; stored: StoredKey }> {
  const { kek, config, id, algorithm, keyUri } = making
  if (keyUri !== undefined) {
    const signer = await makeTokenKey(config, keyUri, tokenAlgorithmOf(algorithm))
    return { signer, stored: { wrapped_key: null, key_uri: keyUri } }
  }
  const key = generatePrivateKey(algorithm)
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' })
  const wrapped = wrapKey(kek, pkcs8, authorityKeyContext(id))
  return { signer: softwareSigner(key), stored: { wrapped_key: wrapped, key_uri: null } }
}

function tokenAlgorithmOf(algorithm: AuthorityAlgorithm): TokenAlgorithm {
  const found = tokenAlgorithms.find((one) => one === algorithm)
  if (found) return found
  throw new DomainError(
    'invalid-request',
    `No token of ours makes ${algorithm} keys: leave keyUri out`,
  )
}

/** Below a root with ML-DSA the whole chain is of it: nobody who cannot verify the root gets further. */
export function defaultAlgorithm(root: Pick<Certificate, 'spki'>): AuthorityAlgorithm {
  return keyFamilyIn(root.spki).startsWith('ML-DSA') ? 'ML-DSA-65' : 'P-256'
}

/** What an authority signs with; undefined when its key is elsewhere, or destroyed. */
export function signerOf(
  { id, certificate, wrapped_key: wrapped, key_uri: uri }: AuthorityRow,
  { kek, config }: { kek: Buffer; config: Pick<Config, 'pkcs11'> },
): Signer | undefined {
  if (uri !== null) return tokenSigner(config, parseCertificate(certificate).spki, uri)
  if (!wrapped) return undefined
  const pkcs8 = unwrapKey(kek, wrapped, authorityKeyContext(id))
  return softwareSigner(createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }))
}

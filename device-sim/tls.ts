import { createPrivateKey } from 'node:crypto'
import type { SecureVersion } from 'node:tls'

export interface Presenting {
  key: string
  cert: string
  minVersion: SecureVersion
  sigalgs?: string
}

const mlDsaSignatures = 'mldsa65:mldsa87:mldsa44'

/**
 * What a handshake presents, and accepts in return. A device with an ML-DSA key takes only a server that proves itself with
 * ML-DSA: otherwise whoever can break elliptic curves would only have to say that he knows nothing better. TLS 1.2
 * has neither.
 *
 * @param client PEM
 */
export function presenting(client: { key: string; certificates: string }): Presenting {
  const { key, certificates } = client
  const kind = createPrivateKey(key).asymmetricKeyType
  const isPostQuantum = kind?.startsWith('ml-dsa-') ?? false
  return {
    key,
    cert: certificates,
    minVersion: isPostQuantum ? 'TLSv1.3' : 'TLSv1.2',
    ...(isPostQuantum ? { sigalgs: mlDsaSignatures } : {}),
  }
}

import type { SecureContextOptions, Server } from 'node:tls'

import type { Authorities } from './authorities/authorities.ts'

/**
 * What we sign and verify handshakes with, the first that a peer knows being taken: elliptic curves for everybody who does not
 * insist on ML-DSA, whose handshakes are ten times as long. Key agreement is post-quantum with either (X25519MLKEM768).
 */
const signatures = [
  'ecdsa_secp256r1_sha256',
  'ecdsa_secp384r1_sha384',
  'ecdsa_secp521r1_sha512',
  'ed25519',
  'rsa_pss_rsae_sha256',
  'rsa_pss_rsae_sha384',
  'rsa_pss_rsae_sha512',
  'rsa_pkcs1_sha256',
  'rsa_pkcs1_sha384',
  'rsa_pkcs1_sha512',
  'mldsa65',
  'mldsa87',
  'mldsa44',
].join(':')

/** Certificates, keys and anchors of a listener: one place for HTTPS and MQTT. TLS 1.2 and 1.3. */
export function secureContext(
  { tls, clientCa }: Pick<Authorities, 'tls' | 'clientCa'>,
  clientCertificates: boolean,
): SecureContextOptions {
  return {
    key: [tls.key, ...(tls.postQuantum ? [tls.postQuantum.key] : [])],
    cert: [tls.cert, ...(tls.postQuantum ? [tls.postQuantum.cert] : [])],
    sigalgs: signatures,
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.3',
    ...(clientCertificates ? { ca: clientCa } : {}),
  }
}

/**
 * Puts each renewed server certificate in place. Connections stay, and so do the keys of session tickets: without
 * them every device would make a full handshake next.
 */
export function followRenewals(
  server: Server,
  authorities: Authorities,
  clientCertificates: boolean,
): void {
  authorities.onRenewal(() => {
    server.setSecureContext({
      ...secureContext(authorities, clientCertificates),
      ticketKeys: server.getTicketKeys(),
    })
  })
}

import { createHash, hkdfSync } from 'node:crypto'
import type { SecureContext, SecureContextOptions, Server } from 'node:tls'

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
    // By default made of the command line, which differs between processes. Tickets of other listeners have other keys.
    sessionIdContext: 'fleetseal',
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
  if (clientCertificates) trustIssuers(server)
  authorities.onRenewal(() => {
    server.setSecureContext({
      ...secureContext(authorities, clientCertificates),
      ticketKeys: server.getTicketKeys(),
    })
    if (clientCertificates) trustIssuers(server)
  })
}

/** A secret of 48 bytes that all processes have. */
export interface TicketSecret {
  current: () => Buffer
  onChange: (listener: () => void) => void
  /** Follows what another process made, and makes the next when it is time. */
  look: () => Promise<void>
}

/**
 * Seals tickets of sessions with a key that all processes have for listeners of this kind, so that a session resumes at any of them and
 * at no other kind. The key also follows from the list of authorities: a resumed session does not verify the certificate
 * again, so what was good under another list is not good any more. To be called after `followRenewals`.
 */
export function shareTickets(
  server: Server,
  { authorities, tickets }: { authorities: Authorities; tickets?: TicketSecret },
  kind: 'mqtt' | 'device',
): void {
  if (!tickets) return
  const set = () => {
    const about = `fleetseal tickets ${kind}\0${authorities.clientCa.toSorted().join()}`
    const salt = createHash('sha256').update(about).digest()
    const key = hkdfSync('sha256', tickets.current(), salt, 'fleetseal session tickets', 48)
    server.setTicketKeys(Buffer.from(key))
  }
  set()
  tickets.onChange(set)
  authorities.onRenewal(set)
}

/**
 * Lets the path of a client's certificate end at the first certificate that is in our own list, which is its issuer, instead of at
 * the root: `allowPartialTrustChain` of `tls.createSecureContext`, which a server does not pass on (Node 24). The list holds only
 * authorities in use (authorities/trust.ts), so who is accepted stays the same, but the root's P-384 signature under
 * the issuer, half of the cost of a handshake (docs/performance.md), is not verified again for each connection.
 */
function trustIssuers(server: Server): void {
  // Private, so its absence must not matter: a handshake then costs more.
  const { _sharedCreds: shared } = server as unknown as { _sharedCreds?: SecureContext }
  const context = shared?.context as { setAllowPartialTrustChain?: () => void } | undefined
  context?.setAllowPartialTrustChain?.()
}

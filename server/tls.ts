import type { SecureContextOptions, Server } from 'node:tls'

import type { Authorities } from './authorities/authorities.ts'

/** Certificate, key and anchors of a listener: one place for HTTPS and MQTT. TLS 1.2 and 1.3. */
export function secureContext(
  { tls, clientCa }: Pick<Authorities, 'tls' | 'clientCa'>,
  clientCertificates: boolean,
): SecureContextOptions {
  return {
    key: tls.key,
    cert: tls.cert,
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

import { isIPv6 } from 'node:net'

import type { Signer } from '../../pki/signer.ts'
import type { Certificate } from '../../pki/x509/parse.ts'

/** An authority that can sign now. */
export interface Issuer {
  id: string
  certificate: Certificate
  der: Buffer
  signer: Signer
}

/** The server's own certificate: PEM, the chain being leaf and server issuer. */
export interface TlsIdentity {
  key: string
  cert: string
  notBefore: Date
  notAfter: Date
}

/** Everything this installation signs with, loaded once at start. */
export interface Authorities {
  root: { id: string; der: Buffer; certificate: Certificate; signer: Signer | undefined }
  devices: Issuer
  servers: Issuer
  /** Changes when the server certificate is renewed: ask each time, or listen to `onRenewal`. */
  readonly tls: TlsIdentity
  /** Whose client certificates a listener asks for: PEM of the root and the device issuers. */
  clientCa: string[]
  rootPem: string
  /** Called with each new server certificate; listeners put it in place without ending a connection (server/tls.ts). */
  onRenewal: (listener: (tls: TlsIdentity) => void) => void
  /** Puts a renewed server certificate in place. */
  renewed: (tls: TlsIdentity) => void
  urls: PublicUrls
}

/** Where anybody fetches CRLs and CA certificates; these URLs are written into certificates. */
export interface PublicUrls {
  /** The whole list, or the delta to it; of one shard where a shard is given. */
  crl: (authorityId: string, part?: { shard?: number | undefined; isDelta?: boolean }) => string
  issuer: (authorityId: string) => string
  /** With port 0 the real port is known only once the public listener runs. */
  setPort: (port: number) => void
}

const defaultPublicPort = 8080

export function publicUrls(host: string, configuredPort: number): PublicUrls {
  let port = configuredPort || defaultPublicPort
  const base = () => `http://${isIPv6(host) ? `[${host}]` : host}:${port}`
  return {
    crl: (authorityId, { shard, isDelta = false } = {}) => {
      const part = shard === undefined ? '' : `-${shard}`
      return `${base()}/crl/${authorityId}${part}${isDelta ? '-delta' : ''}.crl`
    },
    issuer: (authorityId) => `${base()}/ca/${authorityId}.cer`,
    setPort: (actual) => {
      port = actual
    },
  }
}

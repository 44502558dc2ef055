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
  /** The same names with an ML-DSA key, for peers that take nothing else. */
  postQuantum?: { key: string; cert: string }
}

/** A root. Its key may be elsewhere. */
export interface Root {
  id: string
  der: Buffer
  certificate: Certificate
  signer: Signer | undefined
}

/**
 * Everything this installation signs with. What it answers changes when an authority takes over from another, here or in
 * another process: ask each time, keep nothing.
 */
export interface Authorities {
  readonly root: Root
  readonly devices: Issuer
  readonly servers: Issuer
  /** Of claim certificates; undefined until one is made. */
  readonly claims: Issuer | undefined
  /** Any authority whose key is here, also one that issues no more: it still signs CRLs and finishes what it began. */
  readonly find: (id: string) => Issuer | undefined
  /** Issuers of devices that are not retired, the active one first. */
  readonly deviceIssuers: readonly Issuer[]
  /** Who issues for devices of a series now; null is the default one. Throws DomainError `not-ready` when nobody does. */
  readonly deviceIssuer: (series: string | null) => Issuer
  /** Who is prepared to issue for a series next, with the roots above them that are not the active one: DER, maybe none. */
  readonly successors: (series: string | null) => readonly Buffer[]
  /** Which series an authority belongs to. */
  readonly seriesOf: (authorityId: string) => string | undefined
  /** What EST `cacerts` gives out, DER: roots, the certificates that lead from one root to another, issuers. */
  readonly distributed: readonly Buffer[]
  /** Certificates between the servers' root and other roots, DER: sent after the issuer in each handshake. */
  readonly bridges: readonly Buffer[]
  readonly tls: TlsIdentity
  /** Whose client certificates a listener asks for: PEM of the roots and the device issuers. */
  readonly clientCa: string[]
  readonly rootPem: string
  /** Called when what listeners show or accept has changed; they take it over without ending a connection (server/tls.ts). */
  onRenewal: (listener: (tls: TlsIdentity) => void) => void
  /** Puts a renewed server certificate in place. */
  renewed: (tls: TlsIdentity) => void
  /** Takes over what the database says now. Cheap when nothing has changed. */
  reload: () => Promise<void>
  urls: PublicUrls
}

/** Where anybody fetches CRLs and CA certificates; these URLs are written into certificates. */
export interface PublicUrls {
  /** The whole list, or the delta to it; of one shard where a shard is given. */
  crl: (authorityId: string, part?: { shard?: number | undefined; isDelta?: boolean }) => string
  issuer: (authorityId: string) => string
  ocsp: () => string
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
    ocsp: () => `${base()}/ocsp`,
    setPort: (actual) => {
      port = actual
    },
  }
}

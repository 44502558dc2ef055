import type { TLSSocket } from 'node:tls'

import { PkiError } from '../pki/errors.ts'
import { fingerprint, parseCertificate } from '../pki/x509/parse.ts'
import { chainOf, leafOf } from './peer-leaf.ts'

/** The certificate a peer proved to hold, whatever Node thinks of it. */
export interface Peer {
  /** Lower hex SHA-256 of its DER. */
  fingerprint: string
  /** The device it names, to file the connection under; who the device is decides the directory alone. */
  deviceId: string | undefined
  /** A certificate of an authority is none of a device, though OpenSSL lets it be a client's. */
  isCa: boolean
  /**
   * DER, leaf first, as the peer sent it, and on to an anchor of ours where it leads to one; of a resumed session, and of a
   * certificate that names a device of ours, the leaf alone.
   */
  chain: readonly Buffer[]
}

const maxChain = 6

const peers = new WeakMap<TLSSocket, Peer>()

/** Also on a resumed session, where OpenSSL keeps the certificate of the first handshake. Undefined without one. */
export function peerOf(socket: TLSSocket): Peer | undefined {
  const known = peers.get(socket)
  if (known) return known
  const leaf = leafOf(socket)
  if (!leaf) return undefined
  const der = leaf.raw
  const deviceId = deviceIdIn(der)
  const chain = deviceId === undefined ? chainOf(socket, maxChain) : [der]
  const peer = { fingerprint: fingerprint(der), deviceId, isCa: leaf.ca, chain }
  peers.set(socket, peer)
  return peer
}

function deviceIdIn(der: Buffer): string | undefined {
  try {
    const [name, ...others] = parseCertificate(der).subjectAltName ?? []
    if (name?.type !== 'uri' || others.length > 0) return undefined
    return /^urn:uuid:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(name.value)?.[1]
  } catch (error) {
    if (error instanceof PkiError) return undefined
    throw error
  }
}

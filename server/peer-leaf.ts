import { X509Certificate } from 'node:crypto'
import { Socket } from 'node:net'
import { type SecureContext, type Server, TLSSocket } from 'node:tls'

/** What this file needs of Node's description of a certificate (`socket.getPeerCertificate()`). */
export interface Leaf {
  /** DER. */
  raw: Buffer
  /** SHA-256, upper hex with colons. */
  fingerprint256: string
  /** By its basic constraints. */
  ca: boolean
}

interface Handle {
  getPeerCertificate: (detailed: boolean) => Leaf | undefined
  getPeerX509Certificate: () => unknown
}

/** The one that Node asked about last: the listener that asks next, in the same turn, need not look again. */
let last: { handle: Handle; leaf: Leaf } | undefined

/**
 * The certificate that the peer of this connection holds the key of, without its issuers. Also on a resumed session, where
 * OpenSSL keeps that of the first handshake. Undefined when it showed none, or the connection is gone.
 */
export function leafOf(socket: TLSSocket): Leaf | undefined {
  const handle = handleOf(socket)
  return handle && look(handle)
}

/** The leaf and the certificates that the peer sent beside it, and whatever leads from there to an anchor of ours; at most `most`. */
export function chainOf(socket: TLSSocket, most: number): Buffer[] {
  const chain: Buffer[] = []
  let next: { raw?: Buffer; issuerCertificate?: unknown } | undefined =
    socket.getPeerCertificate(true)
  while (next?.raw && chain.length < most) {
    const { raw }: { raw?: Buffer } = next
    if (!raw || chain.some((der) => der.equals(raw))) break
    chain.push(raw)
    next = next.issuerCertificate as typeof next
  }
  return chain
}

/**
 * Keeps Node from losing memory at each handshake of a listener that asks for client certificates; once for a process. Its `getPeerX509Certificate` takes the issuers out of OpenSSL's own list
 * and frees none of them (`X509Certificate::GetPeerCert`; nodejs/node#65579): some 10 KB for a certificate with one issuer. And
 * since 24.21 it calls that itself for every client certificate, to know whether there is one. Here that question, and
 * ours, are answered by `getPeerCertificate`, which copies. Private members: where they are missing all works as before, and
 * test/integration/peer-leaf.test.ts fails.
 */
export function keepIssuers(server: Server): void {
  const { _sharedCreds: secureContext } = server as unknown as { _sharedCreds?: SecureContext }
  if (isKept || !secureContext) return
  const probe = new TLSSocket(new Socket(), { isServer: true, secureContext })
  const handle = handleOf(probe)
  const prototype = handle && (Object.getPrototypeOf(handle) as Partial<Handle>)
  probe.destroy()
  if (!prototype?.getPeerX509Certificate || !prototype.getPeerCertificate) return
  isKept = true
  prototype.getPeerX509Certificate = function answer(this: Handle) {
    last = undefined
    const leaf = look(this)
    if (leaf) last = { handle: this, leaf }
    return leaf
  }
  TLSSocket.prototype.getPeerX509Certificate = function parse(this: TLSSocket) {
    const leaf = leafOf(this)
    return leaf && new X509Certificate(leaf.raw)
  }
}

let isKept = false

function look(handle: Handle): Leaf | undefined {
  if (last?.handle !== handle) return handle.getPeerCertificate(false)
  const { leaf } = last
  last = undefined
  return leaf
}

function handleOf(socket: TLSSocket): Handle | undefined {
  return (socket as unknown as { _handle?: Handle | null })._handle ?? undefined
}

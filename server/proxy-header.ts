import { BlockList, isIPv4, isIPv6, type Server, type Socket } from 'node:net'

/** PROXY protocol 2: what every header begins with (section 2.2 of its specification). */
const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const fixedBytes = 16
/** The specification's own bound for what a receiver must be able to take; nothing longer is read. */
const maxHeaderBytes = 536

export type ProxyHeader =
  | { state: 'more' }
  | { state: 'bad' }
  /** Without `peer` the proxy speaks for itself, such as to see whether the port answers. */
  | { state: 'done'; bytes: number; peer?: Peer }

export interface Peer {
  address: string
  port: number
  family: 'IPv4' | 'IPv6'
}

const bad: ProxyHeader = { state: 'bad' }

/**
 * Reads a PROXY protocol header of version 2 at the beginning of `data`. Version 1, which is text, is not accepted: it has no
 * length that could be checked first.
 *
 * @returns `more` as long as what is there is the beginning of one; `bytes` is the length of a whole one
 */
export function readProxyHeader(data: Buffer): ProxyHeader {
  const begun = Math.min(data.length, signature.length)
  if (!data.subarray(0, begun).equals(signature.subarray(0, begun))) return bad
  if (data.length < fixedBytes) return { state: 'more' }
  const [command, transport] = [data.readUInt8(12), data.readUInt8(13)]
  const bytes = fixedBytes + data.readUInt16BE(14)
  if (bytes > maxHeaderBytes || (command !== 0x20 && command !== 0x21)) return bad
  if (data.length < bytes) return { state: 'more' }
  if (command === 0x20) return { state: 'done', bytes }
  const peer = peerOf(transport, data.subarray(fixedBytes, bytes))
  return peer ? { state: 'done', bytes, peer } : bad
}

/** Only TCP over IPv4 or IPv6 reaches a listener of ours; what follows the addresses (TLVs) is skipped. */
function peerOf(transport: number, body: Buffer): Peer | undefined {
  if (transport === 0x11 && body.length >= 12) {
    return { address: body.subarray(0, 4).join('.'), port: body.readUInt16BE(8), family: 'IPv4' }
  }
  if (transport === 0x21 && body.length >= 36) {
    const port = body.readUInt16BE(32)
    // A proxy that listens on both versions says an IPv4 address like this: it stays one address for whatever is limited by it.
    if (body.subarray(0, mapped.length).equals(mapped)) {
      return { address: body.subarray(mapped.length, 16).join('.'), port, family: 'IPv4' }
    }
    const groups = Array.from({ length: 8 }, (_, i) => body.readUInt16BE(i * 2).toString(16))
    return { address: canonical(groups.join(':')), port, family: 'IPv6' }
  }
  return undefined
}

/** What an IPv4-mapped address begins with (RFC 4291 §2.5.5.2). */
const mapped = Buffer.from('00000000000000000000ffff', 'hex')

/** As the system writes it, so that one address has one spelling in what is recorded and compared. */
function canonical(address: string): string {
  return new URL(`http://[${address}]/`).hostname.slice(1, -1)
}

const maxNetworks = 64

/**
 * @param list addresses and networks (`10.0.0.0/8`, `::1`), at most 64, separated by commas
 * @returns undefined when it is not such a list
 */
export function parseNetworks(list: string): BlockList | undefined {
  const entries = list.split(',').map((entry) => entry.trim())
  if (entries.length > maxNetworks) return undefined
  const networks = new BlockList()
  for (const entry of entries) {
    const [address = '', length, ...rest] = entry.split('/')
    const bits = isIPv4(address) ? 32 : isIPv6(address) ? 128 : 0
    const prefix = length === undefined ? bits : /^\d{1,3}$/.test(length) ? Number(length) : -1
    if (bits === 0 || rest.length > 0 || prefix < 0 || prefix > bits) return undefined
    networks.addSubnet(address, prefix, bits === 32 ? 'ipv4' : 'ipv6')
  }
  return networks
}

/**
 * @param address as a socket says it: an IPv4 address that came to a listener of both versions (`::ffff:10.0.0.5`) is in the IPv4
 *   network, and one of a link has its interface behind it (`fe80::1%eth0`), which no list names
 */
export function isListed(networks: BlockList, address: string): boolean {
  const plain = address.replace(/%.*$/, '')
  return networks.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4')
}

/**
 * Why a connection was closed before its TLS began: what came is no header that is accepted, or none came in time, or its peer
 * went first, as health checks without a header and port scans do.
 */
export type HeaderFault = 'bad' | 'late' | 'gone'

export interface ProxiedOptions {
  networks: BlockList | undefined
  /** How long the header may take. */
  headerMs: number
  /** Told of each connection that is closed for want of a header; `from` is the address of the proxy, where it is known. */
  refused: (fault: HeaderFault, from: string | undefined) => void
}

/**
 * Makes a TLS listener take the address of a peer from a PROXY header where the connection comes from one of `networks`: there
 * the header is required, and from everywhere else it is what no TLS client sends, which ends the connection. To be called
 * before other listeners of `connection` are added: those see the socket at once, TLS only after the header.
 */
export function takeProxied(server: Server, { networks, headerMs, refused }: ProxiedOptions): void {
  if (networks === undefined) return
  const inner = server.listeners('connection')
  server.removeAllListeners('connection')
  server.on('connection', (socket: Socket) => {
    const start = () => {
      for (const listener of inner) Reflect.apply(listener, server, [socket])
    }
    const { remoteAddress: from } = socket
    const refuse = (fault: HeaderFault) => {
      socket.destroy()
      refused(fault, from)
    }
    socket.on('error', () => {})
    // Reset before it was looked at, as haproxy ends its checks: nobody knows any more from where it was.
    if (from === undefined) return refuse('gone')
    if (!isListed(networks, from)) return start()
    awaitHeader(socket, { headerMs, start, refuse })
  })
}

function awaitHeader(
  socket: Socket,
  {
    headerMs,
    start,
    refuse,
  }: { headerMs: number; start: () => void; refuse: (fault: HeaderFault) => void },
): void {
  let data = Buffer.alloc(0)
  const stop = () => {
    clearTimeout(timer)
    socket.off('readable', read)
    socket.off('end', gone)
    socket.off('close', gone)
  }
  const end = (fault: HeaderFault) => {
    stop()
    refuse(fault)
  }
  const gone = () => end('gone')
  const read = () => {
    const chunk: unknown = socket.read()
    if (!Buffer.isBuffer(chunk)) return
    data = Buffer.concat([data, chunk])
    const header = readProxyHeader(data)
    if (header.state === 'more') return
    if (header.state === 'bad') return end('bad')
    stop()
    if (header.peer) speakFor(socket, header.peer)
    if (data.length > header.bytes) socket.unshift(data.subarray(header.bytes))
    start()
  }
  const timer = setTimeout(() => end('late'), headerMs)
  socket.once('close', gone)
  socket.once('end', gone)
  socket.on('readable', read)
}

/**
 * A TLS socket has its address from the handle below it, and Node gives no other way to say it: answered there, everything that
 * asks for the address of this connection gets the real one.
 */
function speakFor(socket: Socket, peer: Peer): void {
  const handle: unknown = Reflect.get(socket, '_handle')
  if (typeof handle !== 'object' || handle === null) return void socket.destroy()
  const getpeername = (out: object) => {
    Object.assign(out, peer)
    return 0
  }
  Reflect.set(handle, 'getpeername', getpeername)
  // What was asked for before is remembered there.
  Reflect.set(socket, '_peername', undefined)
}

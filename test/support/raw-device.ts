import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'

import type { Credentials } from './broker-pki.ts'

export const types = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  suback: 9,
  unsuback: 11,
  pingresp: 13,
}

/** An MQTT packet: type, flags, remaining length as announced (the body's unless a test lies), body. */
export function frame(type: number, flags: number, body: Buffer, announced = body.length): Buffer {
  const length: number[] = []
  let left = announced
  do {
    length.push((left % 128) | (left >= 128 ? 128 : 0))
    left = Math.floor(left / 128)
  } while (left > 0)
  return Buffer.concat([Buffer.from([(type << 4) | flags, ...length]), body])
}

const text = (value: string | Buffer) => {
  const bytes = Buffer.from(value as string)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(bytes.length)
  return Buffer.concat([length, bytes])
}
const number = (value: number) => Buffer.from([value >> 8, value & 255])

/** `localAddress`: where it connects from, e.g. 127.0.0.2. */
export type RawOptions = ConnectionOptions & { localAddress?: string }

export interface ConnectFields {
  clientId: string | Buffer
  keepalive?: number
  isClean?: boolean
  version?: number
  protocol?: string
  will?: { topic: string; payload: string }
  /** Extra bytes of a password, to make the packet as long as wanted. */
  password?: Buffer
}

export function connectFrame(fields: ConnectFields): Buffer {
  const {
    clientId,
    keepalive = 60,
    isClean = true,
    version = 4,
    protocol = 'MQTT',
    will,
    password,
  } = fields
  const flags = (isClean ? 2 : 0) | (will ? 4 : 0) | (password ? 0xc0 : 0)
  return frame(
    types.connect,
    0,
    Buffer.concat([
      text(protocol),
      Buffer.from([version, flags]),
      number(keepalive),
      ...(version === 5 ? [Buffer.from([0])] : []),
      text(clientId),
      ...(will ? [text(will.topic), text(will.payload)] : []),
      ...(password ? [text('user'), text(password)] : []),
    ]),
  )
}

export interface PublishFields {
  topic: string
  payload: string | Buffer
  qos?: number
  id?: number
  isRetained?: boolean
  isDuplicate?: boolean
}

export function publishFrame({
  topic,
  payload,
  qos = 1,
  id = 1,
  isRetained,
  isDuplicate,
}: PublishFields): Buffer {
  const flags = (qos << 1) | (isRetained ? 1 : 0) | (isDuplicate ? 8 : 0)
  const parts = [text(topic), ...(qos > 0 ? [number(id)] : []), Buffer.from(payload as string)]
  return frame(types.publish, flags, Buffer.concat(parts))
}

export function subscribeFrame(filters: readonly string[], id = 1, qos = 1): Buffer {
  return frame(
    8,
    2,
    Buffer.concat([number(id), ...filters.flatMap((filter) => [text(filter), Buffer.from([qos])])]),
  )
}

export const pingFrame = frame(12, 0, Buffer.alloc(0))
export const disconnectFrame = frame(14, 0, Buffer.alloc(0))

export interface Received {
  type: number
  flags: number
  body: Buffer
}

/** A device that says exactly what a test wants it to say. */
export class RawDevice {
  readonly socket: TLSSocket
  /** Below the TLS. */
  readonly tcp: Socket
  readonly received: Received[] = []
  /** What the server gave for resumption. */
  readonly tickets: Buffer[] = []
  readonly closed: Promise<void>
  #buffer = Buffer.alloc(0)

  constructor(socket: TLSSocket, tcp: Socket) {
    this.socket = socket
    this.tcp = tcp
    tcp.on('error', () => {})
    tcp.once('close', () => socket.destroy())
    socket.on('error', () => {})
    socket.on('session', (ticket: Buffer) => this.tickets.push(ticket))
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()))
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('end', () => socket.destroy())
  }

  /** Resolves after the handshake as the client sees it, which in TLS 1.3 says nothing about its certificate. */
  static async open(
    port: number,
    ca: string,
    credentials?: Pick<Credentials, 'key' | 'cert'>,
    { localAddress, ...options }: RawOptions = {},
  ): Promise<RawDevice> {
    const host = '127.0.0.1'
    const tcp = connectTcp({ port, host, ...(localAddress === undefined ? {} : { localAddress }) })
    const { key, cert } = credentials ?? {}
    const identity = key && cert ? { key, cert } : {}
    // TLS over a stream and not over the socket's own handle, which cannot be reset below a TLS session without harm.
    const stream = Duplex.from({ readable: tcp, writable: tcp })
    stream.on('error', () => {})
    const socket = connect({ socket: stream, servername: 'localhost', ca, ...identity, ...options })
    const device = new RawDevice(socket, tcp)
    await Promise.race([once(device.socket, 'secureConnect').catch(() => {}), device.closed])
    return device
  }

  send(...frames: Buffer[]): void {
    this.socket.write(Buffer.concat(frames))
  }

  /** The next packet of that type, from the first one on; undefined when the connection closes first. */
  async next(type: number): Promise<Received | undefined> {
    for (;;) {
      const at = this.received.findIndex((packet) => packet.type === type)
      if (at >= 0) return this.received.splice(at, 1)[0]
      if (this.socket.destroyed) return undefined
      await Promise.race([this.closed, once(this.socket, 'packet').catch(() => {})])
    }
  }

  /** The return code of CONNACK, or `closed`. */
  async connack(): Promise<number | 'closed'> {
    const packet = await this.next(types.connack)
    return packet ? (packet.body[1] ?? -1) : 'closed'
  }

  async connect(fields: ConnectFields): Promise<number | 'closed'> {
    this.send(connectFrame(fields))
    return await this.connack()
  }

  /** True when the peer acknowledges, false when the connection closes without. */
  async publish(fields: PublishFields): Promise<boolean> {
    this.send(publishFrame(fields))
    return (await this.next(types.puback)) !== undefined
  }

  /** Granted QoS values, or `closed`. */
  async subscribe(filters: readonly string[], qos = 1): Promise<number[] | 'closed'> {
    this.send(subscribeFrame(filters, 1, qos))
    const packet = await this.next(types.suback)
    return packet ? [...packet.body.subarray(2)] : 'closed'
  }

  /** Whether it is closed within the time. */
  async isClosedWithin(ms: number): Promise<boolean> {
    return await Promise.race([this.closed.then(() => true), sleep(ms, false, { ref: false })])
  }

  /** Answers a ping: the connection lives and everything before was handled. */
  async isAlive(): Promise<boolean> {
    if (this.socket.destroyed) return false
    this.send(pingFrame)
    return (await this.next(types.pingresp)) !== undefined
  }

  async close(): Promise<void> {
    this.socket.destroy()
    await this.closed
  }

  #read(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk])
    for (;;) {
      const header = headerOf(this.#buffer)
      if (!header || this.#buffer.length < header.end) return
      const first = this.#buffer[0] ?? 0
      this.received.push({
        type: first >> 4,
        flags: first & 15,
        body: this.#buffer.subarray(header.start, header.end),
      })
      this.#buffer = this.#buffer.subarray(header.end)
      this.socket.emit('packet')
    }
  }
}

function headerOf(bytes: Buffer): { start: number; end: number } | undefined {
  let length = 0
  for (let at = 1; at < bytes.length && at <= 4; at++) {
    const byte = bytes[at] ?? 0
    length += (byte & 127) * 128 ** (at - 1)
    if (byte < 128) return { start: at + 1, end: at + 1 + length }
  }
  return undefined
}

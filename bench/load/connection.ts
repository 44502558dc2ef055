import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  connect,
  type ConnectionOptions,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
} from 'node:tls'

import type { Credential, Where } from './orders.ts'
import {
  connectPacket,
  disconnectPacket,
  PacketReader,
  packetType,
  pubackPacket,
  publishPacket,
  subscribePacket,
} from './packets.ts'

/** After it an attempt to connect has failed. */
const connectMs = 60_000

/** What the server did instead of letting a device in: `CONNACK 5`, `ECONNRESET`, `closed`, `timeout`. */
export class Refusal extends Error {}

export interface Dialed {
  number: number
  credential: Credential
  context: SecureContext
  port: number
  session?: Buffer | undefined
  onTicket?: (ticket: Buffer) => void
}

/** Contexts are made once: reading keys is the load's cost, and not the server's. */
export function contextOf(credential: Credential, ca: string, group: Where['group'] = 'X25519') {
  const { key, cert } = credential
  return createSecureContext({ key, cert, ca, minVersion: 'TLSv1.3', ecdhCurve: group })
}

/** A raw connection of one device. */
export class Connection {
  readonly number: number
  readonly deviceId: string
  readonly closed: Promise<void>
  closedAt: number | undefined
  /** Each PUBLISH that comes; the second is when, since 1970. */
  onMessage: (() => void) | undefined
  readonly #socket: TLSSocket
  readonly #waiting = new Map<number, () => void>()
  #answer: PromiseWithResolvers<Buffer> | undefined
  #nextId = 0

  private constructor(socket: TLSSocket, { number, credential }: Dialed) {
    this.#socket = socket
    this.number = number
    this.deviceId = credential.deviceId
    this.closed = new Promise((resolve) =>
      socket.once('close', () => {
        this.closedAt = performance.timeOrigin + performance.now()
        this.#answer?.reject(new Refusal('closed'))
        resolve()
      }),
    )
    const reader = new PacketReader((type, flags, body) => this.#take(type, flags, body))
    socket.on('data', (data: Buffer) => reader.take(data))
  }

  /** The TLS handshake alone. Throws Refusal. */
  static async dial(dialed: Dialed): Promise<Connection> {
    const { number, context, port, session, onTicket } = dialed
    const options: ConnectionOptions & { localAddress: string } = {
      port,
      host: '127.0.0.1',
      // A pair of addresses has 28,000 ports; one device always comes from the same one.
      localAddress: `127.0.${1 + (number % 50)}.1`,
      servername: 'localhost',
      secureContext: context,
      ...(session === undefined ? {} : { session }),
    }
    const socket = connect(options)
    socket.setTimeout(connectMs, () => socket.destroy(new Refusal('timeout')))
    if (onTicket) socket.on('session', onTicket)
    socket.on('error', () => {})
    try {
      await once(socket, 'secureConnect')
    } catch (error) {
      socket.destroy()
      throw asRefusal(error)
    }
    socket.setNoDelay(true)
    return new Connection(socket, dialed)
  }

  get isResumed(): boolean {
    return this.#socket.isSessionReused()
  }

  write(bytes: Buffer): void {
    this.#socket.setTimeout(0)
    this.#socket.write(bytes)
  }

  /** CONNECT, until CONNACK 0. Throws Refusal. */
  async enter(keepaliveSeconds = 1_200): Promise<void> {
    const answer = await this.#ask(connectPacket(this.deviceId, keepaliveSeconds))
    if (answer[1] !== 0) throw new Refusal(`CONNACK ${answer[1]}`)
    this.#socket.setTimeout(0)
  }

  /** Throws Refusal when one of them is refused. */
  async subscribe(filters: readonly { filter: string; qos: 0 | 1 }[]): Promise<void> {
    const own = filters.map(({ filter, qos }) => ({
      filter: filter.replace('{id}', this.deviceId),
      qos,
    }))
    const answer = await this.#ask(subscribePacket(1, own))
    if (answer.subarray(2).includes(0x80)) throw new Refusal('SUBACK 128')
  }

  async #ask(packet: Buffer): Promise<Buffer> {
    if (this.closedAt !== undefined) throw new Refusal('closed')
    const answer = Promise.withResolvers<Buffer>()
    this.#answer = answer
    this.#socket.write(packet)
    try {
      return await answer.promise
    } finally {
      this.#answer = undefined
    }
  }

  /** QoS 1. Calls back when it is acknowledged, and never when it is not. */
  publish(topic: string, payload: Buffer, acknowledged: () => void): void {
    this.#nextId = (this.#nextId % 65_535) + 1
    this.#waiting.set(this.#nextId, acknowledged)
    this.#socket.write(publishPacket(topic, payload, this.#nextId))
  }

  #take(type: number, flags: number, body: Buffer): void {
    if (type === packetType.publish) {
      const qos = (flags >> 1) & 3
      if (qos > 0) this.#socket.write(pubackPacket(body.readUInt16BE(2 + body.readUInt16BE(0))))
      return this.onMessage?.()
    }
    if (type === packetType.puback) {
      const id = body.readUInt16BE(0)
      const acknowledged = this.#waiting.get(id)
      this.#waiting.delete(id)
      return acknowledged?.()
    }
    if (type === packetType.connack || type === packetType.suback) this.#answer?.resolve(body)
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** DISCONNECT, and waits for the end. A server that closes first makes it an error, which ends the connection all the same. */
  async leave(): Promise<void> {
    if (this.closedAt !== undefined) return
    this.#socket.resume()
    this.#socket.end(disconnectPacket)
    await this.closed
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

export function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error
  if (!(error instanceof Error)) return new Refusal(String(error))
  return new Refusal('code' in error ? String(error.code) : error.message)
}

/** `{id}`, `{n}` and `{uuid}` of a body. */
export function filled(body: string, deviceId: string, n: number): Buffer {
  return Buffer.from(
    body
      .replaceAll('{id}', deviceId)
      .replaceAll('{n}', String(n))
      .replaceAll('{uuid}', () => randomUUID()),
  )
}

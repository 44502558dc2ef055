import type { TLSSocket } from 'node:tls'

import type { Client } from 'aedes'

import type { ServerLeaf } from '../protocol/topics.ts'
import type { Refused, RefusalLog } from './refusal.ts'
import type { TokenBucket } from './token-bucket.ts'

export type Granted = Readonly<Partial<Record<ServerLeaf, 0 | 1>>>

/** One connection that passed the gate, from the end of its handshake to its close. */
export interface Session {
  readonly client: Client
  readonly socket: TLSSocket
  readonly fingerprint: string
  readonly remoteAddress: string | undefined
  readonly bucket: TokenBucket
  /** Set when CONNECT was accepted: the certificate's device, which is also the client id. */
  deviceId: string | undefined
  /** Larger than that of every earlier connection; set with `clientReady`. */
  epoch: number
  /** Messages handed over and not yet committed. */
  inFlight: number
  /** Of a message that is being prepared: those after it wait. */
  preparing: Promise<unknown> | undefined
  /** What it subscribed to, and the QoS it was granted. */
  readonly filters: Map<string, 0 | 1>
  /** What follows from that: the QoS at which it is sent what the server says, for leaves that it asked for. */
  granted: Granted
  /** Of the last message to the device that it is to acknowledge; 0 before the first. */
  packetId: number
  /** The connection of the same device that was there when this one was let in. */
  replaces: Session | undefined
  /** Why it ends, once that is decided: the first reason is the one recorded. */
  refused: Refused | undefined
}

/**
 * The connections of this process. Aedes' own `clients` and `connectedClients` can be wrong (broker.md §1.6), so nothing
 * here relies on them: sessions are kept by client object, and the newest ready one of each device by its id.
 */
export class Sessions {
  readonly #byClient = new Map<Client, Session>()
  readonly #ready = new Map<string, Session>()
  readonly #log: RefusalLog

  constructor(log: RefusalLog) {
    this.#log = log
  }

  add(session: Session): void {
    this.#byClient.set(session.client, session)
  }

  of(client: Client): Session | undefined {
    return this.#byClient.get(client)
  }

  /** The ready session of a device, if its socket still lives. */
  get(deviceId: string): Session | undefined {
    const session = this.#ready.get(deviceId)
    return session && !session.socket.destroyed ? session : undefined
  }

  /** @returns the session of the same device that was ready before this one and still lives */
  ready(session: Session, deviceId: string): Session | undefined {
    const before = this.get(deviceId)
    this.#ready.set(deviceId, session)
    return before === session ? undefined : before
  }

  remove(session: Session): void {
    this.#byClient.delete(session.client)
    const { deviceId } = session
    if (deviceId !== undefined && this.#ready.get(deviceId) === session)
      this.#ready.delete(deviceId)
  }

  /** Decides why a session ends and records it, once. Ending it is left to the caller or to Aedes. */
  refuse(session: Session, refused: Refused): Refused {
    if (session.refused) return session.refused
    session.refused = refused
    this.#log.record(refused, session)
    return refused
  }

  all(): IterableIterator<Session> {
    return this.#byClient.values()
  }

  readySessions(): IterableIterator<Session> {
    return this.#ready.values()
  }

  connectedDevices(): string[] {
    return [...this.#ready.keys()]
  }

  get size(): number {
    return this.#ready.size
  }
}

import type { Server, Socket } from 'node:net'
import { isIPv6 } from 'node:net'
import type { TLSSocket } from 'node:tls'

import type { Context } from './context.ts'
import { TokenBucket } from './mqtt/token-bucket.ts'

/** Why a connection was closed before its TLS began: too many waited, or it waited too long. */
export type NotAdmitted = 'full' | 'late'

export interface AdmissionLimits {
  /** TLS handshakes in progress. */
  atOnce: number
  /** Handshakes begun, in the long run; as many at once after a quiet second. */
  perSecond: number
  /** Connections whose handshake has not begun. */
  maxWaiting: number
  /** After that a handshake that has not ended no longer keeps others from beginning. */
  lentMs: number
}

interface Ticket {
  socket: Socket
  network: string
  start: () => void
  refused: (why: NotAdmitted) => void
  /** Not to be begun after this, by the monotonic clock. */
  latest: number
}

interface Slot {
  network: string
  since: number
}

/** How soon it is looked again for what a passing moment gives: a token of the rate, a slot to lend on, the end of a wait. */
const lookMs = 20

/**
 * Decides when a connection that was accepted may begin its TLS handshake, which is what costs. As long as few come at once
 * each begins immediately; when a whole fleet does, they wait, unread, and begin in turn by the network they come from. Shared
 * by the listeners for devices of a process.
 */
export class Admission {
  readonly #limits: AdmissionLimits
  readonly #metrics: Context['metrics']
  readonly #now: () => number
  readonly #rate: TokenBucket
  /** In the order in which they began. */
  readonly #slots = new Map<Socket, Slot>()
  readonly #held = new Map<string, number>()
  /** The network whose turn it is comes first. */
  readonly #queues = new Map<string, Set<Ticket>>()
  #waiting = 0
  /** The one that was the longest when it last grew: taking turns shortens all alike, so it is nearly so now. */
  #longest: Set<Ticket> = new Set()
  #timer: NodeJS.Timeout | undefined

  constructor(
    limits: AdmissionLimits,
    metrics: Context['metrics'],
    monotonicMs: () => number = () => performance.now(),
  ) {
    this.#limits = limits
    this.#metrics = metrics
    this.#now = monotonicMs
    this.#rate = new TokenBucket(limits.perSecond, limits.perSecond, monotonicMs)
  }

  get inProgress(): number {
    return this.#slots.size
  }

  get waiting(): number {
    return this.#waiting
  }

  /**
   * @param waitMs how long the connection may wait
   * @param start begins the handshake; `ended` is to be called after it
   * @param refused called after the connection was closed
   */
  admit(
    socket: Socket,
    waitMs: number,
    { start, refused }: Pick<Ticket, 'start' | 'refused'>,
  ): void {
    const network = networkOf(socket.remoteAddress)
    const ticket = { socket, network, start, refused, latest: this.#now() + waitMs }
    if (this.#waiting === 0 && this.#hasSlot(network) && this.#rate.take())
      return this.#begin(ticket)
    this.#wait(ticket)
    this.look()
  }

  /** The handshake of this connection is over, or the connection is. */
  ended(socket: Socket): void {
    if (this.#free(socket) && this.#waiting > 0) this.look()
  }

  /** Begins what may begin now. Called by itself as long as something waits. */
  look(): void {
    this.#lendSlots()
    let passed = 0
    while (this.#waiting > 0 && passed < this.#queues.size) {
      const [next] = this.#queues
      if (next === undefined) break
      const [network, queue] = next
      this.#dropLate(queue)
      this.#queues.delete(network)
      const [ticket] = queue
      if (ticket === undefined) continue
      // To the end of the turns.
      this.#queues.set(network, queue)
      if (!this.#hasSlot(network)) {
        passed++
        continue
      }
      if (!this.#rate.take()) break
      passed = 0
      this.#leave(ticket)
      this.#begin(ticket)
    }
    if (this.#waiting === 0 || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.look()
    }, lookMs)
  }

  /** The last quarter is for networks that do not have half of all: who says nothing from one address keeps nobody out. */
  #hasSlot(network: string): boolean {
    const { atOnce } = this.#limits
    const used = this.#slots.size
    if (used < atOnce * 0.75) return true
    return used < atOnce && (this.#held.get(network) ?? 0) < atOnce / 2
  }

  #begin({ socket, network, start }: Ticket): void {
    this.#slots.set(socket, { network, since: this.#now() })
    this.#held.set(network, (this.#held.get(network) ?? 0) + 1)
    this.#metrics.handshakesInProgress.inc()
    socket.once('close', () => this.ended(socket))
    start()
  }

  #free(socket: Socket): boolean {
    const slot = this.#slots.get(socket)
    if (slot === undefined) return false
    this.#slots.delete(socket)
    const held = (this.#held.get(slot.network) ?? 1) - 1
    if (held === 0) this.#held.delete(slot.network)
    else this.#held.set(slot.network, held)
    this.#metrics.handshakesInProgress.dec()
    return true
  }

  #lendSlots(): void {
    const until = this.#now() - this.#limits.lentMs
    for (const [socket, { since }] of this.#slots) {
      if (since > until) return
      this.#free(socket)
    }
  }

  #wait(ticket: Ticket): void {
    const queue = this.#queues.get(ticket.network) ?? new Set<Ticket>()
    if (queue.size > this.#longest.size) this.#longest = queue
    if (this.#waiting >= this.#limits.maxWaiting) {
      // Room is made for who has fewer waiting, by who has the most.
      const last = queue.size + 1 < this.#longest.size ? [...this.#longest].at(-1) : undefined
      if (last === undefined) return this.#refuse(ticket, 'full')
      this.#leave(last)
      this.#refuse(last, 'full')
    }
    queue.add(ticket)
    if (queue.size > this.#longest.size) this.#longest = queue
    this.#queues.set(ticket.network, queue)
    this.#waiting++
    this.#metrics.connectionsWaiting.inc()
    // Nothing of it is read while it waits, so a peer that has gone is found when its turn comes; this is for our own end.
    ticket.socket.once('close', () => this.#leave(ticket))
  }

  #leave(ticket: Ticket): void {
    const queue = this.#queues.get(ticket.network)
    if (!queue?.delete(ticket)) return
    if (queue.size === 0) this.#queues.delete(ticket.network)
    this.#waiting--
    this.#metrics.connectionsWaiting.dec()
  }

  #dropLate(queue: Set<Ticket>): void {
    for (const ticket of queue) {
      if (ticket.latest > this.#now()) return
      this.#leave(ticket)
      this.#refuse(ticket, 'late')
    }
  }

  /** Before TLS there is nothing that could be said to a device: a reset is what says at once that it is not to wait. */
  #refuse({ socket, refused }: Ticket, why: NotAdmitted): void {
    this.#metrics.connectionsRefused.inc({ reason: why })
    socket.resetAndDestroy()
    refused(why)
  }
}

/** What counts as one place: an IPv4 address, or the 64 bits of an IPv6 network, in which anybody has all addresses. */
export function networkOf(address = ''): string {
  if (!isIPv6(address)) return address
  if (address.startsWith('::ffff:')) return address.slice(7)
  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail === undefined) return groups.slice(0, 4).join(':')
  const rest = tail === '' ? [] : tail.split(':')
  const zeros = Array.from({ length: Math.max(0, 8 - groups.length - rest.length) }, () => '0')
  return [...groups, ...zeros, ...rest].slice(0, 4).join(':')
}

/**
 * Connections that the system has made and the process not yet taken. While handshakes are computed that are hundreds: of what finds no room
 * the system hears again after 1 second, 3, 7, 15, 31 (RFC 6298), which is how long a fleet would take. At most `net.core.somaxconn`.
 */
export const listenBacklog = 4_096

const defaults = { atOnce: 64, maxWaiting: 20_000, lentMs: 3_000 }
const quietMs = 60_000

const ofProcess = new WeakMap<Context['config'], Admission>()

/** The one of this process, which all of its listeners for devices share. */
export function admissionOf({ config, metrics }: Pick<Context, 'config' | 'metrics'>): Admission {
  const existing = ofProcess.get(config)
  if (existing) return existing
  const made = new Admission({ ...defaults, perSecond: config.connectRate }, metrics)
  ofProcess.set(config, made)
  return made
}

/**
 * Makes the handshakes of a TLS listener begin when `admission` lets them. Its server must have `pauseOnConnect`, or what waits
 * is read into memory. To be called before `takeProxied`: where a PROXY header comes, its address takes its turn.
 */
export function admitInTurn(
  server: Server,
  {
    admission,
    waitMs,
    log,
    refused = () => {},
  }: {
    admission: Admission
    waitMs: number
    log: Context['log']
    refused?: (why: NotAdmitted, from: string | undefined) => void
  },
): void {
  const inner = server.listeners('connection')
  server.removeAllListeners('connection')
  const warn = warnInSum(log)
  server.on('connection', (socket: Socket) => {
    socket.on('error', () => {})
    const from = socket.remoteAddress
    admission.admit(socket, waitMs, {
      start: () => {
        for (const listener of inner) Reflect.apply(listener, server, [socket])
      },
      refused: (why) => {
        warn(why)
        refused(why, from)
      },
    })
  })
  server.on('secureConnection', (secure: TLSSocket) => {
    // The socket below it, for which Node has no public name.
    const below: unknown = Reflect.get(secure, '_parent')
    if (typeof below === 'object' && below !== null) admission.ended(below as Socket)
  })
}

function warnInSum(log: Context['log']): (why: NotAdmitted) => void {
  let closed = 0
  let saidAt = -Infinity
  return (why) => {
    closed++
    const now = performance.now()
    if (now - saidAt < quietMs) return
    log.warn(
      { why, closed },
      'more devices connect at once than this process takes: some were closed and come back by themselves (FLEETSEAL_CONNECT_RATE)',
    )
    closed = 0
    saidAt = now
  }
}

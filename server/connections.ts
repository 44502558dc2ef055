import type { Socket } from 'node:net'

/** Who a live TLS connection belongs to. */
export interface ConnectionOwner {
  fingerprint: string
  deviceId: string
}

/**
 * Every live socket that showed a device certificate, MQTT and HTTPS alike, so that a device can be cut off at
 * once (pki.md T3). A socket is entered *before* its status is checked (broker.md §1.6): a revocation that arrives in
 * between finds it here. It leaves by itself when it closes.
 */
export class ConnectionIndex {
  readonly #byDevice = new Map<string, Set<Socket>>()
  readonly #owners = new WeakMap<Socket, ConnectionOwner>()
  readonly #ends = new WeakMap<Socket, (socket: Socket) => void>()
  #size = 0

  /** `end`: how it is ended when its owner is cut off, at once and for good; by default it is destroyed. */
  add(socket: Socket, owner: ConnectionOwner, end?: (socket: Socket) => void): void {
    if (this.#owners.has(socket) || socket.destroyed) return
    this.#owners.set(socket, owner)
    if (end) this.#ends.set(socket, end)
    const sockets = this.#byDevice.get(owner.deviceId) ?? new Set()
    sockets.add(socket)
    this.#byDevice.set(owner.deviceId, sockets)
    this.#size++
    socket.once('close', () => this.#remove(socket, owner.deviceId))
  }

  /** Lets go of a socket that is closed after its one answer, whatever becomes of its owner meanwhile. */
  release(socket: Socket): void {
    const owner = this.#owners.get(socket)
    if (owner) this.#remove(socket, owner.deviceId)
  }

  ownerOf(socket: Socket): ConnectionOwner | undefined {
    return this.#owners.get(socket)
  }

  /** Ends every connection of the device that `match` accepts. Returns how many. */
  drop(deviceId: string, match: (owner: ConnectionOwner) => boolean = () => true): number {
    let dropped = 0
    for (const socket of this.#byDevice.get(deviceId) ?? []) {
      const owner = this.#owners.get(socket)
      if (!owner || !match(owner)) continue
      const end = this.#ends.get(socket)
      if (end) end(socket)
      else socket.destroy()
      dropped++
    }
    return dropped
  }

  has(deviceId: string): boolean {
    return this.#byDevice.has(deviceId)
  }

  get size(): number {
    return this.#size
  }

  devices(): IterableIterator<string> {
    return this.#byDevice.keys()
  }

  #remove(socket: Socket, deviceId: string): void {
    const sockets = this.#byDevice.get(deviceId)
    if (!sockets?.delete(socket)) return
    this.#size--
    if (sockets.size === 0) this.#byDevice.delete(deviceId)
  }
}

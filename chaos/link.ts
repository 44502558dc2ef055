import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export interface Target {
  host: string
  port: number
}

const connectMs = 2_000
const firstBytes = 1_000

/**
 * A network between two sides: TCP from one port to whichever of the targets answers, in turn. It can be parted, so that nothing passes
 * and nobody is told, as when packets are lost on the way; or cut, so that every connection ends.
 */
export class Link implements AsyncDisposable {
  readonly #targets: readonly Target[]
  readonly #server: Server
  readonly #pairs = new Set<Pair>()
  readonly #waiting = new Set<Socket>()
  #turn = 0
  #parted = false
  /** Nothing passes on connections that began with this. */
  #only: string | undefined

  private constructor(targets: readonly Target[]) {
    this.#targets = targets
    this.#server = createServer({ pauseOnConnect: true, noDelay: true }, (client) => {
      client.on('error', () => client.destroy())
      if (this.#parted) {
        this.#waiting.add(client)
        client.once('close', () => this.#waiting.delete(client))
      } else void this.#pass(client)
    })
  }

  static async open(targets: readonly Target[], host = '127.0.0.1'): Promise<Link> {
    const link = new Link(targets)
    link.#server.listen(0, host)
    await once(link.#server, 'listening')
    return link
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Connections that were begun while it was parted, and wait. */
  get waiting(): number {
    return this.#waiting.size
  }

  part(): void {
    this.#parted = true
    for (const pair of this.#pairs) pair.hold()
  }

  /** Parts only connections in whose first bytes this stands, such as the name of a program that speaks to a database. */
  partThose(words: string): void {
    this.#only = words
    for (const pair of this.#pairs) if (pair.beganWith(words)) pair.hold()
  }

  heal(): void {
    this.#parted = false
    this.#only = undefined
    for (const pair of this.#pairs) pair.flow()
    for (const client of this.#waiting) void this.#pass(client)
    this.#waiting.clear()
  }

  cut(): void {
    for (const pair of this.#pairs) pair.end()
  }

  async #pass(client: Socket): Promise<void> {
    const first = this.#turn++
    for (let n = 0; n < this.#targets.length; n++) {
      const target = this.#targets[(first + n) % this.#targets.length]
      const upstream = target && (await answering(target))
      if (!upstream) continue
      const pair = new Pair(client, upstream, {
        began: () => {
          if (this.#only !== undefined && pair.beganWith(this.#only)) pair.hold()
        },
        ended: () => this.#pairs.delete(pair),
      })
      this.#pairs.add(pair)
      if (this.#parted) pair.hold()
      else pair.flow()
      return
    }
    client.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    for (const client of this.#waiting) client.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

class Pair {
  readonly #sockets: readonly [Socket, Socket]
  readonly #ended: () => void
  #isHeld = true
  #isOver = false
  #first = ''

  constructor(
    client: Socket,
    upstream: Socket,
    { began, ended }: { began: () => void; ended: () => void },
  ) {
    this.#sockets = [client, upstream]
    this.#ended = ended
    client.once('data', (chunk: Buffer) => {
      this.#first = chunk.toString('latin1', 0, firstBytes)
      began()
    })
    for (const socket of this.#sockets) {
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#isOver = true
        if (!this.#isHeld) this.end()
      })
    }
  }

  beganWith(words: string): boolean {
    return this.#first.includes(words)
  }

  hold(): void {
    this.#isHeld = true
    const [client, upstream] = this.#sockets
    client.unpipe(upstream).pause()
    upstream.unpipe(client).pause()
  }

  flow(): void {
    this.#isHeld = false
    const [client, upstream] = this.#sockets
    // What ended while nothing passed is heard of now.
    if (this.#isOver || client.destroyed || upstream.destroyed) return this.end()
    client.pipe(upstream)
    upstream.pipe(client)
  }

  end(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#ended()
  }
}

async function answering({ host, port }: Target): Promise<Socket | undefined> {
  const socket = connect({ host, port, noDelay: true })
  socket.on('error', () => {})
  const timer = setTimeout(() => socket.destroy(), connectMs)
  try {
    await Promise.race([
      once(socket, 'connect'),
      once(socket, 'close').then(() => {
        throw new Error('closed')
      }),
    ])
    return socket
  } catch {
    return undefined
  } finally {
    clearTimeout(timer)
  }
}

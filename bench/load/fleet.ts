import type { SecureContext } from 'node:tls'

import { asRefusal, Connection, contextOf, type Dialed } from './connection.ts'
import { Histogram } from './latencies.ts'
import type {
  Arrive,
  Arrived,
  Churn,
  Churned,
  Closed,
  Closes,
  Credential,
  Hold,
  Some,
  State,
  Use,
  Where,
} from './orders.ts'

const mostDevices = 20_000
const mostParallel = 512
const mostTimes = 100_000

/** The devices of one load process and the connections that they hold. */
export class LoadFleet {
  readonly #credentials: Credential[] = []
  readonly #contexts = new Map<string, SecureContext>()
  readonly #tickets = new Map<number, Buffer>()
  readonly #held: Connection[] = []
  #ca = ''
  #arrivals: number[] = []
  #received = 0
  #lastAt = 0

  get held(): readonly Connection[] {
    return this.#held
  }

  use({ credentials, ca }: Use): { devices: number } {
    if (this.#credentials.length + credentials.length > mostDevices) {
      throw new Error(`A load process has at most ${mostDevices} devices`)
    }
    this.#ca = ca
    this.#credentials.push(...credentials)
    return { devices: this.#credentials.length }
  }

  async churn(order: Churn): Promise<Churned> {
    const { first = 0, devices, connects, resume } = order
    const parallel = Math.min(order.parallel, devices, mostParallel)
    const count = new Count()
    let left = connects
    const lane = async (number: number) => {
      // Each lane has devices of its own: two connections of one device would end one another.
      for (let turn = number; left-- > 0; turn += parallel) {
        const at = first + (turn < devices ? turn : (turn = number))
        await this.#once(at, { ...order, resume }, count)
      }
    }
    await Promise.all(Array.from({ length: parallel }, (_, number) => lane(number)))
    return count.read()
  }

  async #once(number: number, order: Connect, count: Count): Promise<void> {
    try {
      const began = performance.now()
      const connection = await this.#dial(number, order)
      await connection.enter()
      count.entered(connection, performance.now() - began)
      await connection.leave()
    } catch (error) {
      count.refused(error)
    }
  }

  async hold(order: Hold): Promise<Churned> {
    const { first = 0, devices, parallel, retries = 0 } = order
    const count = new Count()
    let next = first
    const lane = async () => {
      for (let at = next++; at < first + devices; at = next++) {
        for (let tries = 0; tries <= retries; tries++) {
          if (tries > 0) await backOff(tries)
          if (await this.#isHeld(at, order, count)) break
        }
      }
    }
    await Promise.all(Array.from({ length: Math.min(parallel, mostParallel) }, lane))
    return count.read()
  }

  async #isHeld(number: number, order: Hold, count: Count): Promise<boolean> {
    try {
      const began = performance.now()
      const connection = await this.#entered(number, order)
      count.entered(connection, performance.now() - began)
      this.#held.push(connection)
      return true
    } catch (error) {
      count.refused(error)
      return false
    }
  }

  async #entered(number: number, order: Hold): Promise<Connection> {
    const { until = 'connack', bytes, keepaliveSeconds, subscribe } = order
    const connection = await this.#dial(number, order)
    connection.onMessage = () => this.#arrived()
    try {
      if (until === 'tls') {
        connection.write(Buffer.from(bytes ?? '', 'base64'))
        return connection
      }
      await connection.enter(keepaliveSeconds)
      if (subscribe !== undefined) await connection.subscribe(subscribe)
      return connection
    } catch (error) {
      connection.destroy()
      throw error
    }
  }

  async #dial(number: number, { port, group, resume }: Connect): Promise<Connection> {
    const credential = this.#credentials[number]
    if (!credential) throw new Error(`The load has no device ${number}`)
    const dialed: Dialed = { number, credential, port, context: this.#context(credential, group) }
    const onTicket = (ticket: Buffer) => void this.#tickets.set(number, ticket)
    const session = this.#tickets.get(number)
    return await Connection.dial(resume ? { ...dialed, session, onTicket } : dialed)
  }

  #context(credential: Credential, group: Where['group']): SecureContext {
    const name = `${group} ${credential.cert}`
    const known = this.#contexts.get(name)
    if (known) return known
    const made = contextOf(credential, this.#ca, group)
    this.#contexts.set(name, made)
    return made
  }

  #arrived(): void {
    this.#received++
    this.#lastAt = performance.timeOrigin + performance.now()
    if (this.#arrivals.length < mostTimes) this.#arrivals.push(this.#lastAt)
  }

  async arrive({ messages, timeoutMs }: Arrive): Promise<Arrived> {
    await until(() => this.#received >= messages, timeoutMs)
    const at = this.#arrivals
    return { received: this.#received, firstAt: at[0] ?? 0, lastAt: this.#lastAt, at }
  }

  async closes({ connections, timeoutMs }: Closes): Promise<Closed> {
    await until(() => this.#closed().length >= connections, timeoutMs)
    const at = Object.fromEntries(this.#closed().map((one) => [one.number, one.closedAt ?? 0]))
    const times = Object.values(at)
    return { closed: times.length, lastAt: times.reduce((a, b) => Math.max(a, b), 0), at }
  }

  #closed(): Connection[] {
    return this.#held.filter(({ closedAt }) => closedAt !== undefined)
  }

  forget(): State {
    this.#arrivals = []
    this.#received = 0
    this.#lastAt = 0
    const open = this.#held.filter(({ closedAt }) => closedAt === undefined)
    this.#held.splice(0, this.#held.length, ...open)
    return this.state()
  }

  some({ first = 0, connections }: Some, work: 'pause' | 'resume'): State {
    for (const connection of this.#held.slice(first, first + connections)) connection[work]()
    return this.state()
  }

  async release(): Promise<State> {
    const all = this.#held.splice(0)
    // Not all in one turn of the server's event loop.
    for (let at = 0; at < all.length; at += 100) {
      await Promise.all(all.slice(at, at + 100).map((connection) => connection.leave()))
    }
    return this.forget()
  }

  state(): State {
    const closed = this.#closed().length
    return { held: this.#held.length - closed, received: this.#received, closed }
  }
}

type Connect = Where & { resume?: boolean | undefined }

/** What became of connects. */
class Count {
  readonly #latencies = new Histogram()
  readonly #refused: Record<string, number> = {}
  #connected = 0
  #resumed = 0

  entered(connection: Connection, ms: number): void {
    this.#connected++
    this.#latencies.add(ms)
    if (connection.isResumed) this.#resumed++
  }

  refused(error: unknown): void {
    const { message } = asRefusal(error)
    this.#refused[message] = (this.#refused[message] ?? 0) + 1
  }

  read(): Churned {
    const latencies = this.#latencies.read()
    return { connected: this.#connected, resumed: this.#resumed, refused: this.#refused, latencies }
  }
}

async function backOff(tries: number): Promise<void> {
  const longestMs = Math.min(2_000 * 2 ** (tries - 1), 30_000)
  await new Promise<void>((resolve) => setTimeout(resolve, longestMs * Math.random()))
}

/** Looks every few milliseconds: what is measured has its time noted when it comes. */
async function until(isSo: () => boolean, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!isSo() && performance.now() < deadline) {
    await new Promise<void>((resolve) => setTimeout(resolve, 5))
  }
}

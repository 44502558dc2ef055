import { setTimeout as sleep } from 'node:timers/promises'

import pg from 'pg'
import type { Logger } from 'pino'

import { payloadsOf } from './bus-payloads.ts'
import { BusPing } from './bus-ping.ts'

/**
 * `identity`: device ids whose right to be connected may have changed. `wake`: devices that have something to fetch.
 * `authority`: authorities that were made, changed their state or had their keys wrapped anew. `session`: devices that are connected
 * anew, each with the epoch of that and the address it came from. `tickets`: the secret of session tickets was replaced.
 */
export const channels = ['identity', 'wake', 'crl', 'authority', 'session', 'tickets'] as const
export type Channel = (typeof channels)[number]

/**
 * Tells every process, this one included, that something changed (architecture.md §9). Carries ids only, is lossy by
 * nature, and is called after the commit of what it announces. `onGap` is called when messages may have been
 * missed (a reconnect): listeners then re-read what changed since their epoch.
 */
export interface Bus extends AsyncDisposable {
  publish: (channel: Channel, ids: readonly string[]) => Promise<void>
  subscribe: (channel: Channel, listener: (ids: string[]) => void) => void
  onGap: (listener: () => void) => void
  /** False while notifications may be missed: when they are not known to arrive. */
  connected: () => boolean
}

const prefix = 'fleetseal_'
/** Of one statement: each payload is at most 8 kB. */
const payloadsAtOnce = 100
/** Payloads that are kept while there is no connection: 8 MB at most. What they tell is found by sweeps too, only later. */
const mostUnsent = 1_000
/** An answer that is this much later than it may be is not waited for. */
const slackMs = 500

export interface BusTiming {
  /** Between two pings, and between attempts to connect again; up to a tenth more or less. */
  pauseMs?: number
  /** So long a ping may take. */
  answerMs?: number
}

class Listeners {
  readonly byChannel = new Map<string, ((ids: string[]) => void)[]>()
  readonly gap: (() => void)[] = []
  subscribe = (channel: Channel, listener: (ids: string[]) => void) => {
    this.byChannel.set(channel, [...(this.byChannel.get(channel) ?? []), listener])
  }
  onGap = (listener: () => void) => void this.gap.push(listener)
  deliver(channel: string, payload: string): void {
    const ids = payload.split(',').filter(Boolean)
    for (const listener of this.byChannel.get(channel) ?? []) listener(ids)
  }
}

/** Inside one process, for the embedded database, which only one process can open. */
export function createLocalBus(): Bus {
  const listeners = new Listeners()
  return {
    publish: async (channel, ids) => {
      if (ids.length > 0) listeners.deliver(channel, ids.join(','))
    },
    subscribe: listeners.subscribe,
    onGap: listeners.onGap,
    connected: () => true,
    [Symbol.asyncDispose]: async () => {},
  }
}

/**
 * Over LISTEN/NOTIFY on a connection of its own, re-made at once when it breaks. One that no longer brings notifications, because its
 * TCP is cut without a word or for whatever reason, is found out by a ping to itself after `pauseMs` and `answerMs` at the latest, and
 * destroyed.
 */
export async function createPostgresBus(
  url: string,
  log: Logger,
  timing: BusTiming = {},
): Promise<Bus> {
  const bus = new PostgresBus(url, log, timing)
  await bus.start()
  return bus
}

interface Message {
  channel: string
  payload: string
}

class PostgresBus implements Bus {
  readonly #listeners = new Listeners()
  readonly #url: string
  readonly #log: Logger
  readonly #pauseMs: number
  readonly #trustMs: number
  readonly #ping: BusPing
  readonly #stop = new AbortController()
  #client: pg.Client | undefined
  /** When it was last known that everything before had arrived. */
  #provenAtMs = 0
  #unsent: Message[] = []
  /** Ends the pause of the watch early. */
  #wake = () => {}
  #loop: Promise<void> = Promise.resolve()

  constructor(url: string, log: Logger, { pauseMs = 2_000, answerMs = 2_000 }: BusTiming) {
    this.#url = url
    this.#log = log
    this.#pauseMs = pauseMs
    this.#trustMs = pauseMs * 1.1 + answerMs + slackMs
    this.#ping = new BusPing(answerMs)
  }

  subscribe = this.#listeners.subscribe
  onGap = this.#listeners.onGap
  /** Also false in a process that stood still, until it has read what arrived meanwhile. */
  connected = () =>
    this.#client !== undefined && performance.now() - this.#provenAtMs <= this.#trustMs

  async start(): Promise<void> {
    await this.#connect()
    this.#loop = this.#watch()
  }

  async publish(channel: Channel, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    // This process must not depend on the round trip: it acts at once, and again, harmlessly, when its own echo arrives.
    this.#listeners.deliver(channel, ids.join(','))
    const { payloads, tooLong } = payloadsOf(ids)
    if (tooLong.length > 0)
      this.#log.error({ channel, count: tooLong.length }, 'too long to notify')
    for (let at = 0; at < payloads.length; at += payloadsAtOnce) {
      const some = payloads.slice(at, at + payloadsAtOnce)
      await this.#send(some.map((payload) => ({ channel: prefix + channel, payload })))
    }
  }

  /** What cannot be sent is kept until it can. */
  async #send(messages: readonly Message[]): Promise<void> {
    const client = this.#client
    try {
      if (!client) throw new Error('there is no connection for notifications')
      await client.query(
        'select pg_notify(channel, payload) from unnest($1::text[], $2::text[]) as sent (channel, payload)',
        [messages.map(({ channel }) => channel), messages.map(({ payload }) => payload)],
      )
    } catch (error) {
      const room = Math.max(0, mostUnsent - this.#unsent.length)
      this.#unsent.push(...messages.slice(0, room))
      const lost = Math.max(0, messages.length - room)
      this.#log.warn({ err: error, lost }, 'notifications not sent; they are when they can be')
    }
  }

  /** Never rejects. */
  async #resend(): Promise<void> {
    const messages = this.#unsent
    if (messages.length === 0) return
    this.#unsent = []
    for (let at = 0; at < messages.length; at += payloadsAtOnce)
      await this.#send(messages.slice(at, at + payloadsAtOnce))
  }

  async #connect(): Promise<void> {
    const client = new pg.Client({
      connectionString: this.#url,
      keepAlive: true,
      query_timeout: 5_000,
      connectionTimeoutMillis: 5_000,
      application_name: 'fleetseal-bus',
    })
    client.on('error', () => {})
    client.once('end', () => this.#lost(client))
    client.on('notification', ({ channel, payload = '' }) => {
      if (channel === this.#ping.channel) this.#ping.hear(payload)
      else this.#listeners.deliver(channel.slice(prefix.length), payload)
    })
    const abandon = () => client.connection.stream.destroy()
    this.#stop.signal.addEventListener('abort', abandon)
    try {
      await client.connect()
      const names = [...channels.map((name) => prefix + name), this.#ping.channel]
      for (const name of names) await client.query(`listen ${name}`)
    } catch (error) {
      abandon()
      throw error
    } finally {
      this.#stop.signal.removeEventListener('abort', abandon)
    }
    this.#provenAtMs = performance.now()
    this.#client = client
  }

  /** Until it is back, changes are heard of by sweeps only: every moment counts. */
  #lost(client: pg.Client): void {
    if (this.#client !== client) return
    this.#client = undefined
    this.#wake()
  }

  /** Processes that were started together do not ask together. */
  async #pause(): Promise<void> {
    const early = new AbortController()
    this.#wake = () => early.abort()
    const signal = AbortSignal.any([this.#stop.signal, early.signal])
    const pauseMs = this.#pauseMs * (0.9 + Math.random() * 0.2)
    await sleep(pauseMs, undefined, { signal }).catch(() => {})
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      await this.#pause()
      if (signal.aborted) return
      await this.#prove()
      if (signal.aborted) return
      try {
        if (!this.#client) {
          await this.#connect()
          // In the same turn: nobody finds it connected and what was missed forgotten.
          for (const listener of this.#listeners.gap) listener()
        }
        // Not waited for: a connection that hangs over it is found out by the ping.
        void this.#resend()
      } catch (error) {
        if (!signal.aborted) {
          this.#log.warn({ err: error }, 'the notification connection could not be made again')
        }
      }
    }
  }

  async #prove(): Promise<void> {
    const client = this.#client
    if (!client) return
    if (await this.#ping.isAnswered(client)) {
      this.#provenAtMs = performance.now()
    } else if (this.#client === client) {
      this.#log.warn('the notification connection broke: no answer to a ping; connecting again')
      this.#client = undefined
      // Not ended: nobody answers to that either.
      client.connection.stream.destroy()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#loop
    const client = this.#client
    this.#client = undefined
    if (!client) return
    const late = setTimeout(() => client.connection.stream.destroy(), 1_000)
    await client.end().catch(() => {})
    clearTimeout(late)
  }
}

import { setTimeout as sleep } from 'node:timers/promises'

import pg from 'pg'
import type { Logger } from 'pino'

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
  /** False while notifications may be missed. */
  connected: () => boolean
}

/** PostgreSQL refuses payloads of 8,000 bytes; 100 UUIDs are 3,900. */
const idsPerMessage = 100
const prefix = 'fleetseal_'
/** Between two pings, and between attempts to connect again. */
const pauseMs = 2_000

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

/** Over LISTEN/NOTIFY on a connection of its own, re-made at once when it breaks; a ping notices a half-open one. */
export async function createPostgresBus(url: string, log: Logger): Promise<Bus> {
  const bus = new PostgresBus(url, log)
  await bus.start()
  return bus
}

class PostgresBus implements Bus {
  readonly #listeners = new Listeners()
  readonly #url: string
  readonly #log: Logger
  readonly #stop = new AbortController()
  #client: pg.Client | undefined
  /** Ends the pause of the watch early. */
  #wake = () => {}
  #loop: Promise<void> = Promise.resolve()

  constructor(url: string, log: Logger) {
    this.#url = url
    this.#log = log
  }

  subscribe = this.#listeners.subscribe
  onGap = this.#listeners.onGap
  connected = () => this.#client !== undefined

  async start(): Promise<void> {
    this.#client = await this.#connect()
    this.#loop = this.#watch()
  }

  async publish(channel: Channel, ids: readonly string[]): Promise<void> {
    // This process must not depend on the round trip: it acts at once, and again, harmlessly, when its own echo arrives.
    if (ids.length > 0) this.#listeners.deliver(channel, ids.join(','))
    for (let at = 0; at < ids.length; at += idsPerMessage) {
      const payload = ids.slice(at, at + idsPerMessage).join(',')
      await this.#client
        ?.query('select pg_notify($1, $2)', [prefix + channel, payload])
        .catch((error: unknown) => this.#log.warn({ err: error }, 'notification not sent'))
    }
  }

  async #connect(): Promise<pg.Client> {
    const client = new pg.Client({
      connectionString: this.#url,
      keepAlive: true,
      query_timeout: 5_000,
      connectionTimeoutMillis: 5_000,
      application_name: 'fleetseal-bus',
    })
    client.on('error', () => {})
    client.once('end', () => this.#lost(client))
    await client.connect()
    for (const channel of channels) await client.query(`listen ${prefix}${channel}`)
    client.on('notification', ({ channel, payload = '' }) =>
      this.#listeners.deliver(channel.slice(prefix.length), payload),
    )
    return client
  }

  /** Until it is back, changes are heard of by sweeps only: every moment counts. */
  #lost(client: pg.Client): void {
    if (this.#client !== client) return
    this.#client = undefined
    this.#wake()
  }

  async #pause(): Promise<void> {
    const early = new AbortController()
    this.#wake = () => early.abort()
    const signal = AbortSignal.any([this.#stop.signal, early.signal])
    await sleep(pauseMs, undefined, { signal }).catch(() => {})
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      await this.#pause()
      if (signal.aborted) return
      try {
        if (this.#client) await this.#client.query('select 1')
        else {
          this.#client = await this.#connect()
          for (const listener of this.#listeners.gap) listener()
        }
      } catch (error) {
        this.#log.warn({ err: error }, 'the notification connection broke; connecting again')
        await this.#client?.end().catch(() => {})
        this.#client = undefined
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#loop
    await this.#client?.end().catch(() => {})
  }
}

import { sql } from 'kysely'

import type { Context } from '../context.ts'
import { partWith } from './part.ts'
import type { Met, Presence } from './presence.ts'
import { Refused } from './refusal.ts'
import type { Session, Sessions } from './session.ts'

type Deps = Pick<Context, 'db' | 'bus' | 'clock' | 'log' | 'nodeId'>

const sweepMs = 10_000
const perRead = 5_000
const maxAddress = 45

export interface TakeOverOptions {
  /** One connection lost its session to another, which came from this address. */
  onTaken?: (before: Session, address: string | undefined) => void
  sweepMs?: number
}

/**
 * A device has one session in the whole installation (architecture.md §9): the newer of two connections, whichever process each is at. The
 * write of a connection's presence finds the older one, so an ordinary connect costs nothing more; its process is told over the bus,
 * and a sweep makes good what the bus lost. Which is newer is decided by epochs, which are the database's time: no clock
 * of another machine can make an old connection win.
 */
export class TakeOvers implements AsyncDisposable {
  readonly #deps: Deps
  readonly #sessions: Sessions
  readonly #presence: Presence
  readonly #onTaken: NonNullable<TakeOverOptions['onTaken']>
  readonly #sweepMs: number
  #timer: NodeJS.Timeout | undefined
  #sweeping: Promise<void> = Promise.resolve()

  constructor(
    deps: Deps,
    { sessions, presence }: { sessions: Sessions; presence: Presence },
    options: TakeOverOptions = {},
  ) {
    this.#deps = deps
    this.#sessions = sessions
    this.#presence = presence
    this.#onTaken = options.onTaken ?? (() => {})
    this.#sweepMs = options.sweepMs ?? sweepMs
  }

  async start(): Promise<void> {
    const { bus } = this.#deps
    this.#presence.onMet = (met) => this.#met(met)
    bus.subscribe('session', (words) => words.forEach((word) => this.#hear(word)))
    bus.onGap(() => void this.sweep())
    await this.#agreeOnTime()
    this.#timer = setInterval(() => void this.sweep(), this.#sweepMs)
    this.#timer.unref()
  }

  /** Looks where the devices of this process are known to be. Never rejects: what failed is done by the next one. */
  async sweep(): Promise<void> {
    this.#sweeping = this.#sweeping.then(() => this.#sweep())
    return await this.#sweeping
  }

  #met(met: readonly Met[]): void {
    const words: string[] = []
    for (const { deviceId, epoch, formerEpoch, isWritten } of met) {
      if (isWritten) {
        const address = this.#sessions.get(deviceId)?.remoteAddress ?? ''
        words.push(`${deviceId}/${epoch}/${address.slice(0, maxAddress)}`)
      } else {
        this.#presence.learn(formerEpoch)
        this.#end(deviceId, epoch + 1, undefined)
      }
    }
    this.#deps.bus
      .publish('session', words)
      .catch((error: unknown) => this.#deps.log.warn({ err: error }, 'a take-over was not told'))
  }

  #hear(word: string): void {
    const [deviceId = '', epoch = '', address = ''] = word.split('/')
    this.#end(deviceId, Number(epoch), address === '' ? undefined : address)
  }

  /** Ends what is older than this. */
  #end(deviceId: string, epoch: number, address: string | undefined): void {
    const session = this.#sessions.get(deviceId)
    // One that is not ready yet has no epoch, and will be the newest.
    if (!session || session.epoch === 0 || !(session.epoch < epoch)) return
    this.#onTaken(session, address)
    this.#sessions.refuse(session, new Refused('taken-over'))
    partWith(session.socket)
  }

  async #sweep(): Promise<void> {
    try {
      await this.#agreeOnTime()
      const ids = this.#sessions.connectedDevices()
      for (let at = 0; at < ids.length; at += perRead)
        await this.#compare(ids.slice(at, at + perRead))
    } catch (error) {
      this.#deps.log.warn({ err: error }, 'where devices are connected could not be compared')
    }
  }

  async #compare(ids: readonly string[]): Promise<void> {
    const rows = await this.#deps.db
      .selectFrom('device_presence')
      .select(['device_id', 'epoch'])
      .where('device_id', '=', sql<string>`any(${[...ids]}::uuid[])`)
      .where('node_id', '<>', this.#deps.nodeId)
      .where('connected', '=', true)
      .execute()
    for (const { device_id: deviceId, epoch } of rows) {
      const session = this.#sessions.get(deviceId)
      if (!session || session.epoch === 0) continue
      if (Number(epoch) > session.epoch) this.#end(deviceId, Number(epoch), undefined)
      else this.#presence.set(deviceId, session.epoch, true)
    }
  }

  async #agreeOnTime(): Promise<void> {
    const { db, clock } = this.#deps
    const beforeMs = clock.now().getTime()
    const { rows } = await sql<{ ms: number }>`
      select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`.execute(db)
    const aroundMs = (beforeMs + clock.now().getTime()) / 2
    this.#presence.correct(Number(rows[0]?.ms) - aroundMs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#sweeping
  }
}

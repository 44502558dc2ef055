import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { DeviceLeaf } from '../protocol/topics.ts'
import { traced } from '../tracing.ts'
import { EffectRunner } from './effects.ts'
import type { Limits } from './limits.ts'
import type { AfterCommit, MessageHandler } from './message.ts'
import { Refused } from './refusal.ts'

/** A message that has been parsed and waits to be stored. */
export interface Incoming {
  deviceId: string
  /** The epoch of its connection. */
  session: number
  handler: MessageHandler
  body: unknown
  bytes: number
  /** Asked when its group is formed: false when the device has lost the right in the meantime. */
  mayStore: () => boolean
}

interface Waiting extends Incoming {
  /** Milliseconds, by a clock that only goes forward. */
  since: number
  resolve: () => void
  reject: (error: Refused) => void
}

/**
 * Stores messages in groups, one transaction each, and answers each message after the commit of its group (architecture.md
 * §7; broker.md §3.5). A message waits 2 ms for others; where so many come that such a group is worth it, somewhat longer, for each
 * message of a larger group costs less.
 *
 * The messages of one device are stored in the order in which they came: a device is in one group at a time, with messages
 * of one leaf.
 */
export class GroupCommit implements AsyncDisposable {
  readonly #ctx: Context
  readonly #limits: Limits
  readonly #effects: EffectRunner
  #waiting: Waiting[] = []
  /** Devices with a message in a group that is being committed. */
  readonly #committing = new Set<string>()
  #groups = 0
  #messages = 0
  #bytes = 0
  #timer: NodeJS.Timeout | undefined
  #idle: (() => void)[] = []
  #stopping = false
  /** Messages of a group, by the last ones. */
  #usualSize = 0
  /** When a group last began with none before it, or ended; by the clock of `since`. */
  #movedAt = 0

  constructor(ctx: Context, limits: Limits) {
    this.#ctx = ctx
    this.#limits = limits
    this.#effects = new EffectRunner(ctx, limits, () => this.#pump())
  }

  /** Messages that have been taken and not yet answered. */
  get size(): number {
    return this.#messages
  }

  /** More would be refused, or groups are being committed and none has ended for as long as a device waits. */
  get isStuck(): boolean {
    const { inFlight, inFlightBytes, hookMs } = this.#limits
    if (this.#messages >= inFlight || this.#bytes >= inFlightBytes) return true
    return this.#groups > 0 && performance.now() - this.#movedAt > hookMs
  }

  /**
   * @returns when the message is committed
   * @throws Refused `busy` above the limits of the process; `message-rejected` when the database refuses this message's
   *   data; `store-failed` when nothing could be stored; `stopping`
   */
  async store(message: Incoming): Promise<void> {
    if (this.#stopping) throw new Refused('stopping')
    const { inFlight, inFlightBytes } = this.#limits
    if (this.#messages >= inFlight || this.#bytes + message.bytes > inFlightBytes) {
      throw new Refused('busy')
    }
    this.#messages++
    this.#bytes += message.bytes
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting.push({ ...message, since: performance.now(), resolve, reject })
    this.#pump()
    try {
      return await promise
    } finally {
      this.#messages--
      this.#bytes -= message.bytes
    }
  }

  /** Commits what waits, lets its effects end, and takes nothing more. Gives up after `flushMs`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true
    const { promise: idle, resolve } = Promise.withResolvers<void>()
    this.#idle.push(resolve)
    const late = setTimeout(() => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Refused('stopping'))
      resolve()
    }, this.#limits.flushMs)
    this.#pump()
    await idle
    clearTimeout(late)
  }

  /** How long the oldest that waits has to wait on, in milliseconds; 0: it is time. */
  #gatherMs(): number {
    const { groupMs, busyGroupMs, busyGroup, groupMessages } = this.#limits
    const [oldest] = this.#waiting
    if (!oldest || this.#stopping || this.#waiting.length >= groupMessages) return 0
    const waitMs = this.#usualSize >= busyGroup ? busyGroupMs : groupMs
    return Math.max(0, oldest.since + waitMs - performance.now())
  }

  #pump(): void {
    if (this.#waiting.length > 0) {
      const gatherMs = this.#gatherMs()
      if (gatherMs > 0) {
        this.#timer ??= setTimeout(() => {
          this.#timer = undefined
          this.#pump()
        }, gatherMs)
        return
      }
    }
    clearTimeout(this.#timer)
    this.#timer = undefined
    while (this.#groups < this.#limits.groupsAtOnce && this.#effects.hasRoom()) {
      const group = this.#take()
      if (group.length === 0) break
      this.#usualSize = (3 * this.#usualSize + group.length) / 4
      if (this.#groups++ === 0) this.#movedAt = performance.now()
      void this.#run(group).finally(() => {
        this.#groups--
        this.#movedAt = performance.now()
        for (const { deviceId } of group) this.#committing.delete(deviceId)
        this.#pump()
      })
    }
    if (this.#waiting.length === 0 && this.#groups === 0 && this.#effects.size === 0) {
      for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  /** The longest waiting messages that may go together. One pass, at most `inFlight` messages long. */
  #take(): Waiting[] {
    const group: Waiting[] = []
    const kept: Waiting[] = []
    const leaves = new Map<string, DeviceLeaf>()
    const held = new Set<string>()
    for (const message of this.#waiting) {
      const { deviceId, handler } = message
      if (!message.mayStore()) {
        message.reject(new Refused('connection-broken'))
        continue
      }
      const leaf = leaves.get(deviceId) ?? handler.leaf
      const isFree = !this.#committing.has(deviceId) && !held.has(deviceId)
      if (isFree && leaf === handler.leaf && group.length < this.#limits.groupMessages) {
        leaves.set(deviceId, leaf)
        group.push(message)
      } else {
        held.add(deviceId)
        kept.push(message)
      }
    }
    this.#waiting = kept
    for (const { deviceId } of group) this.#committing.add(deviceId)
    return group
  }

  async #run(group: readonly Waiting[]): Promise<void> {
    const timed = this.#ctx.metrics.mqttGroups.startTimer()
    const stored = traced(
      'store messages',
      { 'fleetseal.messages': group.length },
      async () => await this.#commit(group, new Set()),
    )
    await stored.then(
      () => timed({ outcome: 'done' }),
      (error: unknown) => {
        timed({ outcome: 'failed' })
        this.#ctx.log.error(
          { ...describe(error), messages: group.length },
          'messages could not be stored',
        )
        for (const { reject } of group) reject(new Refused('store-failed', {}, { cause: error }))
      },
    )
  }

  /**
   * One transaction for all; when their data is at fault, half by half until the message that is at fault stands alone:
   * a device that can send one bad row must not make everybody else pay a transaction each.
   *
   * @param failed devices of which a message was rejected: their later ones would be out of order
   */
  async #commit(messages: readonly Waiting[], failed: Set<string>): Promise<void> {
    const open = messages.filter(({ deviceId }) => !failed.has(deviceId))
    for (const message of messages) {
      if (failed.has(message.deviceId)) message.reject(new Refused('connection-broken'))
    }
    if (open.length === 0) return
    try {
      const effects = await this.#transact(open)
      for (const { resolve } of open) resolve()
      for (const effect of effects) this.#effects.run(effect)
    } catch (error) {
      if (!isAboutData(error)) throw error
      const [only] = open
      if (only && open.length === 1) {
        const { deviceId, handler } = only
        failed.add(deviceId)
        this.#ctx.log.error(
          { ...describe(error), deviceId, leaf: handler.leaf },
          'a message was rejected',
        )
        only.reject(new Refused('message-rejected', { leaf: handler.leaf }, { cause: error }))
        return
      }
      const middle = Math.ceil(open.length / 2)
      await this.#commit(open.slice(0, middle), failed)
      await this.#commit(open.slice(middle), failed)
    }
  }

  async #transact(messages: readonly Waiting[]): Promise<AfterCommit[]> {
    const byHandler = Map.groupBy(messages, ({ handler }) => handler)
    const ctx = this.#ctx
    return await inTransaction(ctx.db, async (tx) => {
      const effects: AfterCommit[] = []
      for (const [handler, group] of byHandler) {
        const effect = await handler.store({
          tx,
          ctx,
          now: ctx.clock.now(),
          messages: group.map(plain),
        })
        if (effect) effects.push(effect)
      }
      return effects
    })
  }
}

const plain = ({ deviceId, body, session }: Waiting) => ({ deviceId, body, session })

/** SQLSTATE classes in which a statement fails because of what it was given, and would fail again. */
const dataClasses = new Set([
  '21' /* cardinality: two messages met in one statement */,
  '22' /* data */,
  '23' /* constraint */,
  '42' /* syntax or access */,
  '54' /* limit */,
  'P0' /* raised by PL/pgSQL */,
])

function isAboutData(error: unknown): boolean {
  if (error instanceof DomainError || error instanceof TypeError || error instanceof RangeError)
    return true
  return dataClasses.has(sqlState(error)?.slice(0, 2) ?? '')
}

function sqlState(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return /^[0-9A-Z]{5}$/.test(code) ? code : undefined
}

/** A database error repeats the values it was given, and payloads do not belong in a log: its code has to do. */
function describe(error: unknown): Record<string, unknown> {
  const code = sqlState(error)
  if (code === undefined) return { err: error }
  const constraint = error instanceof Error && 'constraint' in error ? error.constraint : undefined
  return { code, ...(constraint === undefined ? {} : { constraint }) }
}

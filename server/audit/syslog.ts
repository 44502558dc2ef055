import { Gauge } from 'prom-client'

import type { SyslogSettings } from '../audit-config.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import type { Worker } from '../workers/worker.ts'
import { checkpointsBetween } from './evidence-store.ts'
import { chainHead, sealedRows } from './store.ts'
import {
  advanceStream,
  failStream,
  leaseStream,
  releaseStream,
  type StreamRow,
} from './stream-store.ts'
import { connectSyslog, type SyslogConnection } from './syslog-connection.ts'
import { checkpointMessage, rowMessage } from './syslog-message.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'config' | 'metrics' | 'nodeId'>

export const syslogStream = 'syslog'

const batchRows = 200
const idleMs = 1_000
const leaseMs = 60_000
const firstRetryMs = 1_000
const lastRetryMs = 60_000
/** Syslog acknowledges nothing. What was sent on a connection that has lasted so long since counts as received. */
const settleMs = 15_000

interface Place {
  chainNo: number
  checkpointNo: number
}

interface Open {
  connection: SyslogConnection
  /** The last that was sent on it. */
  sent: Place
  /** What was sent when, until it counts as received. */
  waiting: { place: Place; at: number }[]
}

/**
 * Sends sealed rows and checkpoints to a receiver of syslog, in the order of the chain, from a place that the database holds: whichever process has
 * the lease goes on from there. What was sent shortly before a connection broke is sent again; the receiver tells by the number in the chain.
 */
export class SyslogStream implements AsyncDisposable {
  readonly #ctx: Deps
  readonly #settings: SyslogSettings
  readonly #settleMs: number
  readonly #lag: Gauge
  #open: Open | undefined
  #retryMs = firstRetryMs
  #retryAt = Number.NEGATIVE_INFINITY

  constructor(ctx: Deps, settings: SyslogSettings, options: { settleMs?: number } = {}) {
    this.#ctx = ctx
    this.#settings = settings
    this.#settleMs = options.settleMs ?? settleMs
    this.#lag = new Gauge({
      name: 'fleetseal_audit_syslog_lag_rows',
      help: 'Sealed audit rows that the receiver of syslog does not count as having yet; of the process that sends',
      registers: [ctx.metrics.registry],
    })
  }

  worker(): Worker {
    return { name: 'audit-syslog', idleMs, step: async () => await this.step() }
  }

  /** One batch. True when there is more. */
  async step(): Promise<boolean> {
    const row = await this.#lease()
    if (!row) {
      this.#drop()
      return false
    }
    try {
      const open = await this.#opened(row)
      const isFull = open !== undefined && (await this.#send(open))
      if (open) await this.#settle(open)
      await this.#measure(row)
      return isFull
    } catch (error) {
      await this.#failed(error)
      return false
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const open = this.#open
    this.#open = undefined
    const isTaken = open !== undefined && (await open.connection.close())
    const owner = this.#ctx.nodeId
    await inTransaction(this.#ctx.db, async (tx) => {
      if (open && isTaken) await advanceStream(tx, syslogStream, { owner, ...open.sent })
      await releaseStream(tx, syslogStream, owner)
    }).catch((error: unknown) => {
      this.#ctx.log.warn({ err: error }, 'what was sent to syslog last is sent again')
    })
  }

  async #lease(): Promise<StreamRow | undefined> {
    const { db, clock, nodeId: owner } = this.#ctx
    const now = clock.now()
    const until = new Date(now.getTime() + leaseMs)
    return await inTransaction(db, (tx) => leaseStream(tx, syslogStream, { owner, now, until }))
  }

  async #opened(row: StreamRow): Promise<Open | undefined> {
    const failure = this.#open?.connection.failure()
    if (failure) throw failure
    if (this.#open) return this.#open
    if (performance.now() < this.#retryAt) return undefined
    const connection = await connectSyslog(this.#settings)
    const sent = { chainNo: row.chain_no, checkpointNo: row.checkpoint_no }
    this.#open = { connection, sent, waiting: [] }
    return this.#open
  }

  async #send(open: Open): Promise<boolean> {
    const { db, config } = this.#ctx
    const host = config.publicHost
    const rows = await sealedRows(db, open.sent.chainNo, batchRows)
    const chainNo = rows.at(-1)?.chain_no ?? open.sent.chainNo
    const range = { after: open.sent.checkpointNo, upTo: chainNo, limit: batchRows }
    const checkpoints = await checkpointsBetween(db, range)
    const messages = rows.map((row) => rowMessage(row, host))
    messages.push(...checkpoints.map((row) => checkpointMessage(row, host)))
    if (messages.length === 0) return false
    await open.connection.send(Buffer.concat(messages))
    open.sent = { chainNo, checkpointNo: checkpoints.at(-1)?.chain_no ?? open.sent.checkpointNo }
    open.waiting.push({ place: open.sent, at: performance.now() })
    return rows.length === batchRows
  }

  async #settle(open: Open): Promise<void> {
    const failure = open.connection.failure()
    if (failure) throw failure
    const settled = open.waiting.filter(({ at }) => performance.now() - at >= this.#settleMs).at(-1)
    if (!settled) return
    const to = { owner: this.#ctx.nodeId, ...settled.place }
    await inTransaction(this.#ctx.db, (tx) => advanceStream(tx, syslogStream, to))
    open.waiting = open.waiting.filter(({ at }) => at > settled.at)
    this.#retryMs = firstRetryMs
  }

  async #measure(row: StreamRow): Promise<void> {
    const head = (await chainHead(this.#ctx.db))?.chainNo ?? 0
    this.#lag.set(Math.max(0, head - (this.#open?.sent.chainNo ?? row.chain_no)))
  }

  async #failed(error: unknown): Promise<void> {
    const { db, clock, log, nodeId: owner } = this.#ctx
    this.#drop()
    this.#retryAt = performance.now() + this.#retryMs
    this.#retryMs = Math.min(lastRetryMs, this.#retryMs * 2)
    const failure = error instanceof Error ? error.message : String(error)
    log.warn(
      { err: error, host: this.#settings.host },
      'audit rows wait: the receiver of syslog cannot be reached',
    )
    await inTransaction(db, (tx) =>
      failStream(tx, syslogStream, { owner, at: clock.now(), failure }),
    )
  }

  #drop(): void {
    this.#open?.connection.destroy()
    this.#open = undefined
  }
}

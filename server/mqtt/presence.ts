import { sql } from 'kysely'

import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'nodeId'>

interface Change {
  epoch: number
  connected: boolean
  at: Date
}

/** What a write of a new connection found. */
export interface Met {
  deviceId: string
  /** Of the connection that was written. */
  epoch: number
  /** Of the one that stood there before; 0 when it came at the same moment. */
  formerEpoch: number
  /** False: a newer connection of the device was there, so this one is the older. */
  isWritten: boolean
}

const flushMs = 100
const retryMs = 1_000
const maxRows = 1_000
/** About 10 MB. Reached only when the database is away while that many devices come and go. */
const maxPending = 100_000

/**
 * Who is connected, in `device_presence`: collected and written in groups, so that a connect costs no statement of its
 * own. The epoch decides between connections: a row takes only what is newer, so the late end of an older connection,
 * of this process or another, does not hide the newer one.
 */
export class Presence {
  readonly #deps: Deps
  #pending = new Map<string, Change>()
  #epoch = 0
  #timer: NodeJS.Timeout | undefined
  #flushing: Promise<void> = Promise.resolve()
  #dropped = 0
  #offsetMs = 0
  /** Told of connections that met one of the same device at another process; costs no statement of its own. */
  onMet: (met: readonly Met[]) => void = () => {}

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** By how much the clock that all processes share is ahead of this one's, in milliseconds: epochs are compared between them. */
  correct(offsetMs: number): void {
    this.#offsetMs = offsetMs
  }

  /** No epoch from now on is as old as this one. */
  learn(epoch: number): void {
    this.#epoch = Math.max(this.#epoch, epoch)
  }

  /** Learns the newest epoch there is, so that ours are newer even when the clock went backward. */
  async start(): Promise<void> {
    const { db } = this.#deps
    const row = await db
      .selectFrom('device_presence')
      .select(({ fn }) => fn.max('epoch').as('newest'))
      .executeTakeFirst()
    this.#epoch = Number(row?.newest ?? 0)
  }

  /** @returns the epoch of a new connection: microseconds of now, and larger than all before it */
  nextEpoch(): number {
    const nowMs = this.#deps.clock.now().getTime() + this.#offsetMs
    this.#epoch = Math.max(this.#epoch + 1, Math.round(nowMs * 1000))
    return this.#epoch
  }

  set(deviceId: string, epoch: number, connected: boolean): void {
    const before = this.#pending.get(deviceId)
    if (before && before.epoch > epoch) return
    if (!before && this.#pending.size >= maxPending) {
      this.#dropped++
      return
    }
    this.#pending.set(deviceId, { epoch, connected, at: this.#deps.clock.now() })
    this.#timer ??= setTimeout(() => void this.flush(), flushMs)
  }

  /** Writes what waits. One writer at a time, so that a failed group cannot overtake a newer one. */
  async flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#flush())
    return await this.#flushing
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  async #flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#dropped > 0) {
      this.#deps.log.warn({ dropped: this.#dropped }, 'presence of devices was not recorded')
      this.#dropped = 0
    }
    while (this.#pending.size > 0) {
      const rows = [...this.#pending].slice(0, maxRows)
      for (const [deviceId] of rows) this.#pending.delete(deviceId)
      try {
        await this.#write(rows)
      } catch (error) {
        this.#deps.log.warn({ err: error }, 'presence could not be written; trying again')
        for (const [deviceId, change] of rows) {
          if (!this.#pending.has(deviceId)) this.#pending.set(deviceId, change)
        }
        this.#timer ??= setTimeout(() => void this.flush(), retryMs)
        return
      }
    }
  }

  async #write(changes: [deviceId: string, Change][]): Promise<void> {
    const { db, nodeId } = this.#deps
    // In one order everywhere: two processes that write the same devices then wait for each other and do not deadlock.
    const rows = changes.toSorted(([a], [b]) => (a < b ? -1 : 1))
    const ids = rows.map(([deviceId]) => deviceId)
    const epochs = rows.map(([, { epoch }]) => String(epoch))
    const states = rows.map(([, { connected }]) => connected)
    const instants = rows.map(([, { at }]) => at.toISOString())
    const { rows: met } = await inTransaction(db, (tx) =>
      sql<MetRow>`
        with change as (
          select * from unnest(${ids}::uuid[], ${epochs}::bigint[], ${states}::boolean[], ${instants}::timestamptz[])
            as change (device_id, epoch, connected, seen_at)
        ), former as (
          select former.* from device_presence former join change on change.device_id = former.device_id
            where change.connected
        ), written as (
          insert into device_presence (device_id, node_id, epoch, connected, last_seen_at)
            select device_id, ${nodeId}::uuid, epoch, connected, seen_at from change
          on conflict (device_id) do update set node_id = excluded.node_id, epoch = excluded.epoch,
            connected = excluded.connected, last_seen_at = excluded.last_seen_at
            -- The same epoch is the same connection: its end, or its beginning told again.
            where device_presence.epoch <= excluded.epoch
          returning device_id
        )
        select change.device_id, change.epoch::text, former.epoch::text as former_epoch,
            written.device_id is not null as is_written
          from change
          left join former on former.device_id = change.device_id
          left join written on written.device_id = change.device_id
          where change.connected
            and (written.device_id is null or (former.connected and former.node_id <> ${nodeId}::uuid))`.execute(
        tx,
      ),
    )
    if (met.length === 0) return
    this.onMet(
      met.map((row) => ({
        deviceId: row.device_id,
        epoch: Number(row.epoch),
        formerEpoch: Number(row.former_epoch ?? 0),
        isWritten: row.is_written,
      })),
    )
  }
}

interface MetRow {
  device_id: string
  epoch: string
  former_epoch: string | null
  is_written: boolean
}

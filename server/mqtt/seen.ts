import { sql } from 'kysely'

import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'nodeId'>

const flushMs = 2_000
const maxWaiting = 100_000

/**
 * Remembers that devices were in contact by other ways than a connection to the broker: written in groups, so that a poll
 * costs no statement of its own. Whether a device is connected is the broker's to say and stays as it is.
 */
export class SeenDevices {
  readonly #deps: Deps
  #waiting = new Set<string>()
  #timer: NodeJS.Timeout | undefined

  constructor(deps: Deps) {
    this.#deps = deps
  }

  note(deviceId: string): void {
    if (this.#waiting.size >= maxWaiting) return
    this.#waiting.add(deviceId)
    this.#timer ??= setTimeout(() => void this.flush(), flushMs).unref()
  }

  async flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const ids = [...this.#waiting].toSorted()
    this.#waiting = new Set()
    if (ids.length === 0) return
    const { db, clock, log, nodeId } = this.#deps
    try {
      await inTransaction(db, (tx) =>
        sql`insert into device_presence (device_id, node_id, epoch, connected, last_seen_at)
          select id, ${nodeId}::uuid, 0, false, ${clock.now()}::timestamptz
          from unnest(${ids}::uuid[]) id where exists (select from device where device.id = id)
          on conflict (device_id) do update set last_seen_at = greatest(device_presence.last_seen_at, excluded.last_seen_at)`.execute(
          tx,
        ),
      )
    } catch (error) {
      // Known again at the next contact.
      log.warn({ err: error }, 'contacts of devices could not be recorded')
    }
  }
}

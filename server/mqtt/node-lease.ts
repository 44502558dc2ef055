import { sql } from 'kysely'

import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'nodeId'>

export const leaseMs = 45_000
const beatMs = 10_000

/**
 * Says that this process lives, and shows the devices of those that died as offline. A process that has not said so for
 * `leaseMs` is dead; its devices have long connected elsewhere or are gone. One row per process, so the cost does not
 * depend on how many devices there are; only a death costs an update of its devices' rows.
 */
export class NodeLease {
  readonly #deps: Deps
  readonly #lost: () => void
  #isHeld = false
  #timer: NodeJS.Timeout | undefined

  /** @param lost another process took this one for dead (a long stall): its devices must be announced again */
  constructor(deps: Deps, lost: () => void) {
    this.#deps = deps
    this.#lost = lost
  }

  async start(): Promise<void> {
    await this.beat()
    this.#timer = setInterval(() => {
      this.beat().catch((error: unknown) =>
        this.#deps.log.warn({ err: error }, 'the lease of this process could not be renewed'),
      )
    }, beatMs)
  }

  async beat(): Promise<void> {
    const { db, clock, nodeId } = this.#deps
    const now = clock.now()
    const wasHeld = await inTransaction(db, async (tx) => {
      const renewed = await tx
        .updateTable('broker_node')
        .set({ seen_at: now })
        .where('id', '=', nodeId)
        .returning('id')
        .executeTakeFirst()
      if (!renewed) {
        await tx
          .insertInto('broker_node')
          .values({ id: nodeId, seen_at: now })
          .onConflict((conflict) => conflict.column('id').doNothing())
          .execute()
      }
      const dead = await tx
        .deleteFrom('broker_node')
        .where('seen_at', '<', new Date(now.getTime() - leaseMs))
        .returning('id')
        .execute()
      if (dead.length > 0) {
        const ids = dead.map(({ id }) => id)
        await tx
          .updateTable('device_presence')
          .set({ connected: false })
          .where('connected', '=', true)
          .where('node_id', '=', sql<string>`any(${ids}::uuid[])`)
          .execute()
      }
      return renewed !== undefined
    })
    if (this.#isHeld && !wasHeld) this.#lost()
    this.#isHeld = true
  }

  /** The process ends and all its connections are closed: nothing of it is shown as connected. */
  async release(): Promise<void> {
    clearInterval(this.#timer)
    const { db, nodeId } = this.#deps
    await inTransaction(db, async (tx) => {
      await tx
        .updateTable('device_presence')
        .set({ connected: false })
        .where('connected', '=', true)
        .where('node_id', '=', nodeId)
        .execute()
      await tx.deleteFrom('broker_node').where('id', '=', nodeId).execute()
    })
  }
}

import type { Context } from '../context.ts'
import { identityChangesAfter } from './identity-change.ts'

const pageSize = 10_000

export interface Changed {
  deviceIds: string[]
  groupIds: string[]
}

/**
 * Reads `identity_change` forward, each row once. Sequence numbers commit out of order, and a cursor over them would step over the
 * late ones for ever; so the cursor is the oldest transaction that was still running at a read. Everything older is
 * complete. Of younger ones, what was seen is remembered until they are older too: as long as the longest transaction
 * takes, not as long as the table is.
 */
export class ChangeFeed {
  readonly #deps: Pick<Context, 'db'>
  /** Transaction from which on something may be missing. */
  #horizon = '0'
  /** Changes of `#horizon` and later that were handed over, by seq. */
  #seen = new Map<number, string>()

  constructor(deps: Pick<Context, 'db'>) {
    this.#deps = deps
  }

  /** @param horizon the oldest transaction that ran before the caller loaded everything else */
  begin(horizon: string): void {
    this.#horizon = horizon
    this.#seen = new Map()
  }

  /** Hands over what is new, page by page; what `apply` fails on is handed over again by the next read. */
  async read(apply: (changed: Changed) => Promise<void>): Promise<void> {
    let place = { xid: this.#horizon, seq: -1 }
    let next: string | undefined
    for (;;) {
      const { changes, horizon } = await identityChangesAfter(this.#deps.db, place, pageSize)
      // Of the first page: later ones may be missing what was committed behind their beginning.
      next ??= horizon
      const fresh = changes.filter(({ seq }) => !this.#seen.has(seq))
      if (fresh.length > 0) {
        await apply({
          deviceIds: unique(fresh.map((row) => row.device_id)),
          groupIds: unique(fresh.map((row) => row.group_id)),
        })
      }
      for (const { seq, xid } of fresh) this.#seen.set(seq, xid)
      const last = changes.at(-1)
      if (!last || changes.length < pageSize) break
      place = last
    }
    this.#advance(next)
  }

  #advance(horizon: string): void {
    // Never back: a database that was restored elsewhere counts from a lower number.
    if (BigInt(horizon) <= BigInt(this.#horizon)) return
    this.#horizon = horizon
    const from = BigInt(horizon)
    for (const [seq, xid] of this.#seen) if (BigInt(xid) < from) this.#seen.delete(seq)
  }
}

function unique(ids: readonly (string | null)[]): string[] {
  return [...new Set(ids.filter((id) => id !== null))]
}

import type { Context } from '../context.ts'
import { identityChangesAfter } from './identity-change.ts'

/** A transaction that took its number early may commit this much later; beyond that it has timed out. */
const overlapMs = 60_000
const firstOverlap = 1_000
const pageSize = 10_000

export interface Changed {
  deviceIds: string[]
  groupIds: string[]
}

/**
 * Reads `identity_change` forward. Sequence numbers commit out of order, so each read goes back a minute and skips
 * what was seen; a cursor alone would step over the late ones for ever.
 */
export class ChangeFeed {
  readonly #deps: Pick<Context, 'db' | 'clock'>
  readonly #seen = new Set<number>()
  /** Highest number known at a time; the newest that is old enough is where the next read begins. */
  #marks: { atMs: number; seq: number }[] = []
  #floor = 0
  #highest = 0

  constructor(deps: Pick<Context, 'db' | 'clock'>) {
    this.#deps = deps
  }

  /** @param seq the last change before the caller loaded everything else */
  begin(seq: number): void {
    this.#floor = Math.max(0, seq - firstOverlap)
    this.#highest = seq
  }

  /** Hands over what is new, page by page; what `apply` fails on is handed over again by the next read. */
  async read(apply: (changed: Changed) => Promise<void>): Promise<void> {
    const nowMs = this.#deps.clock.now().getTime()
    for (let from = this.#floor; ;) {
      const page = await identityChangesAfter(this.#deps.db, from, pageSize)
      const fresh = page.filter(({ seq }) => !this.#seen.has(seq))
      if (fresh.length > 0) {
        await apply({
          deviceIds: unique(fresh.map((row) => row.device_id)),
          groupIds: unique(fresh.map((row) => row.group_id)),
        })
      }
      for (const { seq } of fresh) this.#seen.add(seq)
      const last = page.at(-1)?.seq
      if (last !== undefined) this.#highest = Math.max(this.#highest, last)
      if (last === undefined || page.length < pageSize) break
      from = last
    }
    this.#advance(nowMs)
  }

  #advance(nowMs: number): void {
    // A mark a second is fine enough, and keeps their number bounded.
    if (nowMs - (this.#marks.at(-1)?.atMs ?? -Infinity) >= 1_000) {
      this.#marks.push({ atMs: nowMs, seq: this.#highest })
    }
    const old = this.#marks.filter(({ atMs }) => nowMs - atMs > overlapMs)
    const newest = old.at(-1)
    if (!newest) return
    this.#floor = Math.max(this.#floor, newest.seq)
    this.#marks = this.#marks.slice(old.length)
    for (const seq of this.#seen) if (seq <= this.#floor) this.#seen.delete(seq)
  }
}

function unique(ids: readonly (string | null)[]): string[] {
  return [...new Set(ids.filter((id) => id !== null))]
}

import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Response } from 'express'

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { standingActors, stillReaches } from '../operators/standing.ts'
import type { Permission } from '../protocol/permissions.ts'
import type { Reach } from '../protocol/reach.ts'
import { rolloutsById } from './live-store.ts'
import { coveredAmong } from './reach-store.ts'
import { viewerOf } from './routes.ts'
import type { RolloutState } from './state.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log'>

export interface LiveLimits {
  /** Between two looks, and so between two events. */
  everyMs: number
  /** Without an event a comment is sent so often: whoever listens can tell silence from a broken line. */
  heartbeatMs: number
  /** A reader that has not taken in for so long what it was sent is dropped. */
  behindMs: number
  /** Without the database nobody's permission is known: then everybody is let go. */
  uncheckedMs: number
  watchersPerKey: number
  watchers: number
}

const defaults: LiveLimits = {
  everyMs: 1_000,
  heartbeatMs: 15_000,
  behindMs: 30_000,
  uncheckedMs: 15_000,
  watchersPerKey: 20,
  watchers: 500,
}

export interface Watch {
  rolloutId: string
  /** `actor.id` of the caller. */
  actor: string
  /** Where the caller could watch when it began; with other rights it has to begin anew. */
  permission: Permission
  reach: Reach
  /** What the reader saw last, when it comes back (`Last-Event-ID`). */
  seen?: string | undefined
  res: Response
}

interface Watcher extends Watch {
  sentAt: number
  behindSince?: number | undefined
}

/** How a rollout stands, as text that is made once for all who watch it. */
interface Standing {
  /** Says the same in every process and after every restart: a hash of what is shown. */
  id: string
  json: string
  isOver: boolean
}

const over: ReadonlySet<RolloutState> = new Set(['completed', 'failed', 'cancelled'])

export type EndReason = 'rollout-ended' | 'key-refused' | 'not-available'

/**
 * The progress of rollouts for those who watch it (server-sent events, HTML §9.2). However many watch however many rollouts,
 * the database is asked the same few questions once a second, none of which counts rows; without a watcher, none. What other
 * processes do is seen the same way.
 *
 * Each event holds the whole view, so a reader that is slow or away for a while misses nothing that matters: it is
 * sent what is true when it can take it.
 */
export class LiveRollouts {
  readonly #deps: Deps
  readonly #limits: LiveLimits
  readonly #watchers = new Set<Watcher>()
  readonly #standings = new Map<string, Standing>()
  #isLooking = false
  #checkedAt = 0

  constructor(deps: Deps, limits: Partial<LiveLimits> = {}) {
    this.#deps = deps
    this.#limits = { ...defaults, ...limits }
  }

  get size(): number {
    return this.#watchers.size
  }

  /**
   * Answers with events until the rollout is over, the key opens nothing any more, or the reader is gone.
   *
   * @throws DomainError `not-found`; `rate-limited` when too many watch
   */
  async watch(watch: Watch): Promise<void> {
    const { rolloutId, res } = watch
    this.#assertRoom(watch.actor)
    const watcher: Watcher = { ...watch, sentAt: this.#now() }
    // The first one's key was looked at a moment ago, and nobody else's has to be known.
    if (this.#watchers.size === 0) this.#checkedAt = this.#now()
    // Before anything is waited for, so that the bound holds.
    this.#watchers.add(watcher)
    res.once('close', () => this.#leave(watcher))
    try {
      if (!this.#standings.has(rolloutId)) await this.#read([rolloutId])
      const standing = this.#standings.get(rolloutId)
      if (!standing) throw new DomainError('not-found', 'No such rollout', { rolloutId })
      if (standing.isOver && watch.seen === standing.id) {
        // A browser that is told "no content" does not come back (HTML §9.2.3).
        res.status(204).end()
        return
      }
      begin(res)
      this.#send(watcher, standing, 'snapshot')
    } catch (error) {
      this.#leave(watcher)
      throw error
    }
    if (!this.#isLooking) void this.#look()
  }

  /** One look at everything that is watched. Made by itself as long as somebody watches. */
  async tick(): Promise<void> {
    try {
      await this.#dropRefused()
      await this.#read([...new Set([...this.#watchers].map((one) => one.rolloutId))])
    } catch (error) {
      this.#deps.log.warn({ err: error }, 'watchers of rollouts are told nothing now')
      if (this.#now() - this.#checkedAt > this.#limits.uncheckedMs) this.#endAll('not-available')
      return
    }
    for (const watcher of this.#watchers) {
      const standing = this.#standings.get(watcher.rolloutId)
      if (standing) this.#send(watcher, standing, 'change')
    }
  }

  #now(): number {
    return this.#deps.clock.now().getTime()
  }

  async #look(): Promise<void> {
    this.#isLooking = true
    while (this.#watchers.size > 0) {
      await sleep(this.#limits.everyMs, undefined, { ref: false })
      await this.tick()
    }
    this.#isLooking = false
  }

  #assertRoom(actor: string): void {
    const { watchers, watchersPerKey } = this.#limits
    const own = [...this.#watchers].filter((one) => one.actor === actor).length
    if (own < watchersPerKey && this.#watchers.size < watchers) return
    const message = 'Too many watch already: end one of them, or ask for the rollout now and then'
    throw new DomainError('rate-limited', message, { watchers, watchersPerKey })
  }

  #leave(watcher: Watcher): void {
    this.#watchers.delete(watcher)
    const { rolloutId } = watcher
    const isWatched = [...this.#watchers].some((one) => one.rolloutId === rolloutId)
    if (!isWatched) this.#standings.delete(rolloutId)
  }

  async #dropRefused(): Promise<void> {
    const actors = [...new Set([...this.#watchers].map((one) => one.actor))]
    const standing = await standingActors(this.#deps.db, actors, this.#deps.clock.now())
    this.#checkedAt = this.#now()
    for (const watcher of this.#watchers) {
      if (!stillReaches(standing, watcher)) this.#end(watcher, 'key-refused')
    }
    await this.#dropUncovered()
  }

  /** A rollout that was edited may be about others now. Asks nothing while only those watch who may see everything. */
  async #dropUncovered(): Promise<void> {
    const limited = [...this.#watchers].filter(({ reach }) => reach !== 'fleet')
    for (const alike of Map.groupBy(limited, ({ reach }) => JSON.stringify(reach)).values()) {
      const ids = [...new Set(alike.map(({ rolloutId }) => rolloutId))]
      const covered = await coveredAmong(this.#deps.db, ids, alike[0]?.reach ?? [])
      for (const watcher of alike) {
        if (!covered.has(watcher.rolloutId)) this.#end(watcher, 'key-refused')
      }
    }
  }

  async #read(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    const rollouts = await rolloutsById(this.#deps.db, ids)
    const view = await viewerOf(this.#deps, rollouts)
    // Somebody may have gone meanwhile, and what nobody watches is not kept.
    const watched = new Set([...this.#watchers].map((one) => one.rolloutId))
    for (const rollout of rollouts.filter(({ id }) => watched.has(id))) {
      const json = JSON.stringify(view(rollout))
      const id = createHash('sha256').update(json).digest('hex').slice(0, 16)
      this.#standings.set(rollout.id, { id, json, isOver: over.has(rollout.state) })
    }
  }

  #send(watcher: Watcher, standing: Standing, event: 'snapshot' | 'change'): void {
    const { res, seen } = watcher
    // One that is being let in gets its beginning first; one that was answered "no content", nothing.
    if (!res.headersSent || res.writableEnded) return
    const { heartbeatMs, behindMs } = this.#limits
    const now = this.#now()
    const isNews = seen !== standing.id
    if (!isNews && now - watcher.sentAt < heartbeatMs) return
    if (res.writableNeedDrain) {
      watcher.behindSince ??= now
      if (now - watcher.behindSince >= behindMs) res.destroy()
      return
    }
    watcher.behindSince = undefined
    watcher.sentAt = now
    if (!isNews) return void res.write(': still here\n\n')
    watcher.seen = standing.id
    res.write(`id: ${standing.id}\nevent: ${event}\ndata: ${standing.json}\n\n`)
    if (standing.isOver) this.#end(watcher, 'rollout-ended')
  }

  #endAll(reason: EndReason): void {
    for (const watcher of this.#watchers) this.#end(watcher, reason)
  }

  #end(watcher: Watcher, reason: EndReason): void {
    this.#leave(watcher)
    // One that still waits for its first event was not answered yet.
    if (watcher.res.headersSent)
      watcher.res.end(`event: end\ndata: ${JSON.stringify({ reason })}\n\n`)
    else watcher.res.destroy()
  }
}

function begin(res: Response): void {
  res.status(200).type('text/event-stream')
  // What stands in between must not hold events back.
  res.setHeader('X-Accel-Buffering', 'no')
  res.flushHeaders()
  res.write('retry: 2000\n\n')
}

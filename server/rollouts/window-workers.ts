import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { endClosed } from '../deployments/window-close.ts'
import { DomainError } from '../errors.ts'
import type { Worker } from '../workers/worker.ts'
import { nextRolloutState } from './state.ts'
import { moveRollout } from './store.ts'
import { planOf } from './window-facts.ts'
import { windowVerdict } from './window-place.ts'
import {
  keepMeasured,
  measuredMs,
  rolloutsToMeasure,
  windowedRollouts,
  type WindowedRollout,
} from './window-store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log'>

const pageSize = 200
const beforeAll = '00000000-0000-0000-0000-000000000000'
const everyMs = 30_000
const measureMs = 600_000

/** Puts rollouts on hold whose window is over for good, takes back what a window with a hard end leaves, and measures. */
export function windowWorkers(ctx: Context): Worker[] {
  return [
    every(ctx, 'rollouts.windows', everyMs, async () => await holdEndless(ctx)),
    every(ctx, 'rollouts.hard-close', everyMs, async () => await endClosed(ctx)),
    every(ctx, 'rollouts.measure', measureMs, async () => await measureReleases(ctx)),
  ]
}

/** At the first step, and then so often by the clock. */
function every(ctx: Context, name: string, ms: number, work: () => Promise<void>): Worker {
  let nextAt = 0
  const step = async () => {
    const now = ctx.clock.now().getTime()
    if (now < nextAt) return false
    await work()
    nextAt = now + ms
    return false
  }
  return { name, idleMs: 2_000, step }
}

/**
 * A window that never opens again, or never for as long as the release takes, admits nobody, and would do so for ever: a person has to
 * know (rollouts.md §8).
 */
export async function holdEndless(ctx: Deps): Promise<void> {
  for (let after = beforeAll; ;) {
    const page = await windowedRollouts(ctx.db, after, pageSize)
    for (const rollout of page) {
      const reason = whyNever(rollout, ctx.clock.now())
      if (reason !== undefined) await hold(ctx, rollout, reason)
    }
    const last = page.at(-1)
    if (!last || page.length < pageSize) return
    after = last.id
  }
}

function whyNever(rollout: WindowedRollout, now: Date): string | undefined {
  const { install_window: rule, ignore_windows: ignore, calendars, needed_ms: neededMs } = rollout
  const facts = { rule, rules: null, calendars, ignore, neededMs }
  const { open, next } = windowVerdict(facts, 0, now)
  if (open || next !== null) return undefined
  if (!planOf(facts).from(now.getTime())) return 'Its window never opens again'
  const minutes = Math.ceil((neededMs ?? 0) / 60_000)
  return `Its window is shorter than the ${minutes} minutes that the release takes`
}

async function hold(ctx: Deps, before: WindowedRollout, reason: string): Promise<void> {
  const now = ctx.clock.now()
  const state = nextRolloutState(before.state, 'pause')
  try {
    await inTransaction(ctx.db, async (tx) => {
      await moveRollout(tx, before, { state, reason }, now)
      const facts = { from: before.state, to: state, reason }
      const what = { action: 'rollout.pause', subject: before.id, facts }
      await recordAudit(tx, { at: now, actor: 'system', ...what })
    })
    ctx.log.warn({ rolloutId: before.id, reason }, 'rollout moved by itself')
  } catch (error) {
    // Another process, or a person, was quicker: the next pass looks again.
    if (!(error instanceof DomainError && error.code === 'conflict')) throw error
  }
}

/** What the windows have to leave room for. */
export async function measureReleases({ db }: Pick<Context, 'db'>): Promise<void> {
  for (let after = beforeAll; ;) {
    const page = await rolloutsToMeasure(db, after, pageSize)
    for (const { id, release_id: releaseId } of page) {
      const ms = await measuredMs(db, releaseId)
      if (ms !== undefined) await keepMeasured(db, id, ms)
    }
    const last = page.at(-1)
    if (!last || page.length < pageSize) return
    after = last.id
  }
}

import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'

import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import type { Worker } from '../workers/worker.ts'
import { makeForm, type MakeLimits, scratchDir } from './make.ts'
import {
  basesOf,
  claimForm,
  endForm,
  extendLease,
  type Form,
  type FormOutcome,
  plan,
  releaseLease,
  releasesToPlan,
  zstdLength,
} from './store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'storage' | 'config'>

export interface DeltaLimits extends MakeLimits {
  /** Images below it are sent as they are. */
  minImageBytes: number
  /** Of one target: what most devices run. And how many in all, as what they run changes. */
  basesAtOnce: number
  maxBases: number
  /** How soon it is looked again at what devices run. */
  planAgainMs: number
  leaseMs: number
}

const defaults: DeltaLimits = {
  maxCpuMs: 300_000,
  minImageBytes: 65_536,
  basesAtOnce: 4,
  maxBases: 8,
  planAgainMs: 3_600_000,
  leaseMs: 60_000,
}

const idleMs = 2_000
const planBatch = 20
const maxAttempts = 3
const retryMs = 30_000

/** Decides which forms published releases need, and makes them, one at a time (updates.md section 5.1). */
export function deltaWorkers(ctx: Deps, limits: Partial<DeltaLimits> = {}): Worker[] {
  const all = { ...defaults, ...limits }
  return [
    { name: 'deltas.plan', idleMs, step: async () => await planStep(ctx, all) },
    makingWorker(ctx, all),
  ]
}

async function planStep({ db, clock }: Deps, limits: DeltaLimits): Promise<boolean> {
  const now = clock.now()
  const releases = await releasesToPlan(db, {
    before: new Date(now.getTime() - limits.planAgainMs),
    minBytes: limits.minImageBytes,
    limit: planBatch,
  })
  for (const release of releases) {
    const bases = await basesOf(db, release, limits.basesAtOnce)
    const { maxBases } = limits
    await inTransaction(db, (tx) => plan(tx, { release, bases, maxBases, now }))
  }
  return releases.length === planBatch
}

function makingWorker(ctx: Deps, limits: DeltaLimits): Worker {
  let isClean = false
  return {
    name: 'deltas.make',
    idleMs,
    step: async (signal) => {
      if (!isClean) await rm(scratchDir(ctx.config), { recursive: true, force: true })
      isClean = true
      return await makeNext(ctx, limits, signal)
    },
  }
}

/** Makes the next one that nobody else makes; says whether there was one. */
async function makeNext(ctx: Deps, limits: DeltaLimits, signal: AbortSignal): Promise<boolean> {
  const { db, clock } = ctx
  const lease = randomUUID()
  const until = () => new Date(clock.now().getTime() + limits.leaseMs)
  const form = await inTransaction(db, (tx) =>
    claimForm(tx, { lease, now: clock.now(), until: until() }),
  )
  if (!form) return false
  if (form.attempts > maxAttempts) {
    await end(ctx, form, lease, { state: 'refused', reason: 'failed', cpu_ms: null })
    return true
  }
  const held = new AbortController()
  const keep = setInterval(() => {
    inTransaction(db, (tx) => extendLease(tx, { id: form.id, lease, until: until() })).then(
      (isHeld) => isHeld || held.abort(),
      (error: unknown) => ctx.log.warn({ err: error }, 'a lease was not extended'),
    )
  }, limits.leaseMs / 4)
  try {
    const outcome = await makeForm(ctx, form, {
      maxCpuMs: limits.maxCpuMs,
      zstdBytes: await zstdLength(db, form.target_sha256),
      signal: AbortSignal.any([signal, held.signal]),
    })
    await end(ctx, form, lease, outcome)
  } catch (error) {
    await giveBack(ctx, form, { lease, isStopped: signal.aborted })
    if (!signal.aborted) throw error
  } finally {
    clearInterval(keep)
  }
  return true
}

async function giveBack(
  { db, clock }: Deps,
  { id }: Form,
  { lease, isStopped }: { lease: string; isStopped: boolean },
): Promise<void> {
  const from = new Date(clock.now().getTime() + (isStopped ? 0 : retryMs))
  await inTransaction(db, (tx) => releaseLease(tx, { id, lease, from, isTry: !isStopped }))
}

async function end(
  { db, clock, log }: Deps,
  { id, method, target_sha256, base_sha256 }: Form,
  lease: string,
  outcome: FormOutcome,
): Promise<void> {
  const now = clock.now()
  const { state, cpu_ms: cpuMs } = outcome
  const facts = {
    method,
    target: target_sha256,
    ...(base_sha256 !== null && { base: base_sha256 }),
    ...(cpuMs !== null && { cpuMs }),
    ...(state === 'made'
      ? { sha256: outcome.sha256, length: outcome.length }
      : { reason: outcome.reason }),
  }
  const isOurs = await inTransaction(db, async (tx) => {
    const counts = await endForm(tx, { id, lease, outcome, now })
    if (counts) {
      const action = state === 'made' ? 'delivery.make' : 'delivery.refuse'
      await recordAudit(tx, { at: now, actor: 'system', action, subject: id, facts })
    }
    return counts
  })
  if (isOurs) log.info(facts, `a form of an image was ${state}`)
}

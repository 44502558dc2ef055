import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import type { WindowFacts } from '../db/window-facts.ts'
import { planOf } from '../rollouts/window-facts.ts'
import { lockUnstarted } from './end-store.ts'
import { type Change, type Deployment, saveChanges } from './store.ts'
import { tellEnds } from './tell-ends.ts'
import { wakeDevices } from './wake.ts'
import { type Begun, downloadingInWindows, isAnyHard } from './window-close-store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'bus' | 'metrics'>

const batchSize = 500
const beforeAll: Begun = { id: '00000000-0000-0000-0000-000000000000', changed_at: new Date(0) }

/**
 * Takes back what is still to be downloaded where a window with a hard end is closed (rollouts.md §8). Whoever has verified its image goes
 * on: nothing is gained by stopping there. Safe to run in any number of processes.
 */
export async function endClosed(ctx: Deps): Promise<void> {
  if (!(await isAnyHard(ctx.db))) return
  const until = ctx.clock.now()
  for (let after = beforeAll; ;) {
    const page = await downloadingInWindows(ctx.db, { after, until, limit: batchSize })
    const now = ctx.clock.now()
    const ids = page.filter(({ facts }) => isClosed(facts, now)).map(({ id }) => id)
    if (ids.length > 0) await cancel(ctx, ids, now)
    const last = page.at(-1)
    if (!last || page.length < batchSize) return
    after = last
  }
}

/** Only windows that say so have a hard end, and closed days when there is one. */
function isClosed({ rule, rules, ...facts }: WindowFacts, now: Date): boolean {
  const hard = { ...facts, rule: isHard(rule) ? rule : null, rules: rules?.filter(isHard) ?? null }
  // Who passes the windows of groups and devices passes their end.
  if (!hard.rule && (facts.ignore || !hard.rules?.length)) return false
  const opening = planOf(hard).from(now.getTime())
  return opening === undefined || opening.startAt > now.getTime()
}

function isHard(rule: unknown): boolean {
  return typeof rule === 'object' && rule !== null && 'hardClose' in rule && rule.hardClose === true
}

async function cancel(ctx: Deps, ids: readonly string[], now: Date): Promise<void> {
  const changes = await inTransaction(ctx.db, async (tx) => {
    const rows = await lockUnstarted(tx, ids, ['accepted', 'downloading'])
    const ended = rows.map(cancelled)
    await saveChanges(tx, ended, now)
    await tellEnds(tx, ended, now)
    return ended
  })
  ctx.metrics.deploymentsMoved.inc({ state: 'cancelled' }, changes.length)
  // Their director targets are empty now.
  await wakeDevices(ctx, [...new Set(changes.map(({ after }) => after.device_id))])
}

function cancelled(before: Deployment): Change {
  const code = 'window-closed'
  const after = { ...before, state: 'cancelled' as const, code, detail: null, progress: null }
  const step = { actor: 'engine' as const, code, detail: null, reported_at: null }
  return { before, after, steps: [{ from_state: before.state, to_state: 'cancelled', ...step }] }
}

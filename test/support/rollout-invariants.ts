import { kindOf } from '../../server/deployments/code-counts.ts'
import { passedStates } from '../../server/protocol/deployment.ts'
import type { RolloutWorld } from './rollout-world.ts'

/** What must be true whenever nobody is in the middle of something. */
export async function brokenInvariants({ db }: RolloutWorld): Promise<string[]> {
  const rows = await db.selectFrom('deployment').selectAll().execute()
  const counts = await db.selectFrom('deployment_count').selectAll().execute()
  const events = await db.selectFrom('deployment_event').selectAll().orderBy('seq').execute()
  const broken: string[] = []
  const sums = new Map<string, number>()
  const add = (key: string, n: number) => sums.set(key, (sums.get(key) ?? 0) + n)
  for (const count of counts) add(`${count.rollout_id} ${count.phase_no} ${count.state}`, count.n)
  for (const row of rows) {
    const isPassed = row.is_step && passedStates.some((state) => state === row.state)
    if (!isPassed) add(`${row.rollout_id} ${row.phase_no} ${row.state}`, -1)
  }
  const kinds = await db.selectFrom('deployment_code_count').selectAll().execute()
  for (const { rollout_id, phase_no, kind, n } of kinds) add(`${rollout_id} ${phase_no} ${kind}`, n)
  for (const row of rows) {
    const kind = kindOf(row)
    if (kind) add(`${row.rollout_id} ${row.phase_no} ${kind}`, -1)
  }
  for (const [key, n] of sums) if (n !== 0) broken.push(`count of ${key} is off by ${n}`)
  const ended = new Set([
    'succeeded',
    'rolled_back',
    'failed_final',
    'cancelled',
    'superseded',
    'expired',
    'lost',
  ])
  const open = Map.groupBy(
    rows.filter((row) => !ended.has(row.state)),
    (row) => `${row.device_id} ${row.component}`,
  )
  for (const [key, several] of open)
    if (several.length > 1) broken.push(`${several.length} open for ${key}`)
  for (const row of rows) {
    const own = events.filter((event) => event.deployment_id === row.id)
    const isChained = own.every((event, n) => event.from_state === (own[n - 1]?.to_state ?? null))
    if (!isChained || own.at(-1)?.to_state !== row.state)
      broken.push(`history of ${row.id} has a hole`)
  }
  return broken
}

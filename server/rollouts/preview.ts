import type { Context } from '../context.ts'
import { canonicalQuery } from '../device-query/canonical.ts'
import { DomainError } from '../errors.ts'
import { previewGroup } from './preview-store.ts'
import { companionsOf, getRollout, groupExists, isPublished, phasesOf } from './store.ts'
import { targetedSql } from './targeting.ts'
import type { PreviewView } from './wire.ts'

type Deps = Pick<Context, 'db' | 'clock'>

/** What would happen, told from what is known now. Writes nothing (rollouts.md §10, the first part of it). */
export async function previewRollout({ db, clock }: Deps, rolloutId: string): Promise<PreviewView> {
  const rollout = await getRollout(db, rolloutId)
  const percents = (await phasesOf(db, [rolloutId])).map((phase) => phase.percent ?? 0)
  const { group_id: groupId, release_id: releaseId, seed } = rollout
  const companions = (await companionsOf(db, [rolloutId])).map((one) => one.release_id)
  const matching = targetedSql(rollout.query, clock.now())
  const rows = await previewGroup(db, { groupId, releaseId, companions, matching, seed, percents })
  const devicesOf = (no: number) =>
    sum(rows.filter((row) => row.reason === null && row.phase === no))
  return {
    ...totals(rows),
    phases: percents.map((percent, n) => ({ no: n + 1, percent, devices: devicesOf(n + 1) })),
    exact: true,
  }
}

export interface Definition {
  groupId: string
  releaseId: string
  companions?: readonly string[]
  query?: string | undefined
  percents: readonly number[]
}

/** Before there is a rollout there is no seed either: the phases' numbers are what is to be expected, rounded. */
export async function previewDefinition(
  { db, clock }: Deps,
  definition: Definition,
): Promise<PreviewView> {
  const { groupId, releaseId, percents } = definition
  if ((await isPublished(db, releaseId)) === undefined) {
    throw new DomainError('not-found', 'No such release', { releaseId })
  }
  if (!(await groupExists(db, groupId))) {
    throw new DomainError('not-found', 'No such group', { groupId })
  }
  const query = definition.query === undefined ? null : canonicalQuery(definition.query)
  const matching = targetedSql(query, clock.now())
  const found = totals(await previewGroup(db, { companions: [], ...definition, matching }))
  const upTo = (percent: number) => Math.round((found.eligible * percent) / 100)
  return {
    ...found,
    phases: percents.map((percent, n) => ({
      no: n + 1,
      percent,
      devices: upTo(percent) - upTo(percents[n - 1] ?? 0),
    })),
    exact: false,
  }
}

type Rows = Awaited<ReturnType<typeof previewGroup>>

function totals(rows: Rows): Pick<PreviewView, 'devices' | 'eligible' | 'excluded'> {
  const excluded: Record<string, number> = {}
  for (const { reason, n } of rows) {
    if (reason !== null) excluded[reason] = (excluded[reason] ?? 0) + n
  }
  return { devices: sum(rows), eligible: sum(rows.filter((row) => row.reason === null)), excluded }
}

function sum(rows: Rows): number {
  return rows.reduce((total, { n }) => total + n, 0)
}

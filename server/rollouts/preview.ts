import type { Context } from '../context.ts'
import { canonicalQuery } from '../device-query/canonical.ts'
import { DomainError } from '../errors.ts'
import { previewGroup, type PreviewPhase } from './preview-store.ts'
import { companionsOf, getRollout, groupExists, isPublished, phasesOf } from './store.ts'
import { targetedSql } from './targeting.ts'
import type { PreviewView } from './wire.ts'

type Deps = Pick<Context, 'db' | 'clock'>

/** What would happen, told from what is known now. Writes nothing (rollouts.md §10, the first part of it). */
export async function previewRollout({ db, clock }: Deps, rolloutId: string): Promise<PreviewView> {
  const row = await getRollout(db, rolloutId)
  const phases = await phasesOf(db, [rolloutId])
  const rows = await previewGroup(db, {
    groupId: row.group_id,
    releaseId: row.release_id,
    companions: (await companionsOf(db, [rolloutId])).map((one) => one.release_id),
    rollout: { id: row.id, seed: row.seed, started: row.started_at !== null },
    matching: targetedSql(row.query, clock.now()),
    phases,
    now: clock.now(),
  })
  return { ...totals(rows), phases: devicesOf(phases, rows, true), exact: true }
}

export interface Definition {
  groupId: string
  releaseId: string
  companions?: readonly string[]
  query?: string | undefined
  phases: readonly PreviewPhase[]
}

/** Before there is a rollout there is no seed either: the phases' numbers are what is to be expected, rounded. */
export async function previewDefinition(
  { db, clock }: Deps,
  { groupId, releaseId, companions = [], query, phases }: Definition,
): Promise<PreviewView> {
  if ((await isPublished(db, releaseId)) === undefined) {
    throw new DomainError('not-found', 'No such release', { releaseId })
  }
  if (!(await groupExists(db, groupId))) {
    throw new DomainError('not-found', 'No such group', { groupId })
  }
  const now = clock.now()
  const matching = targetedSql(query === undefined ? null : canonicalQuery(query), now)
  const question = { groupId, releaseId, companions, matching, phases, now }
  const rows = await previewGroup(db, question)
  return { ...totals(rows), phases: devicesOf(phases, rows, false), exact: false }
}

type Rows = Awaited<ReturnType<typeof previewGroup>>

/**
 * How many devices each phase adds, if all come: one phase after the other takes of those that are left. Which ones a count
 * takes nobody knows before; it is taken to draw evenly.
 */
function devicesOf(
  phases: readonly PreviewPhase[],
  rows: Rows,
  isExact: boolean,
): PreviewView['phases'] {
  const left = rows.filter((row) => row.reason === null).map((row) => ({ ...row }))
  let passed = 0
  let taken = 0
  let shown = 0
  return phases.map(({ no, percent = null, count }) => {
    const takes = left.filter((row) => row.phases.includes(no))
    const present = sum(takes)
    // Of the devices that no smaller share took, each is equally likely in this one.
    const share = isExact || percent === null ? 1 : (percent - passed) / (100 - passed)
    const wanted = Math.min(present * share, count ?? Infinity)
    for (const row of takes) row.n -= present > 0 ? (row.n * wanted) / present : 0
    if (percent !== null) passed = percent
    taken += wanted
    const devices = Math.round(taken) - shown
    shown += devices
    return { no, percent, devices }
  })
}

function totals(rows: Rows): Pick<PreviewView, 'devices' | 'eligible' | 'excluded'> {
  const excluded: Record<string, number> = {}
  for (const { reason, n } of rows) {
    if (reason !== null) excluded[reason] = (excluded[reason] ?? 0) + n
  }
  return { devices: sum(rows), eligible: sum(rows.filter((row) => row.reason === null)), excluded }
}

function sum(rows: readonly { n: number }[]): number {
  return rows.reduce((total, { n }) => total + n, 0)
}

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { abortOf, failuresToStop } from './abort.ts'
import { Rate } from './bounds-wire.ts'
import type { SettingColumns } from './columns.ts'
import { estimate, type EstimatedPhase, saysOf } from './preview-estimate.ts'
import {
  type Contact,
  countMembers,
  mostLookedAt,
  previewGroup,
  type PreviewPhase,
  type PreviewQuestion,
  sizeOf,
} from './preview-store.ts'
import type { PreviewView } from './preview-wire.ts'
import {
  companionsOf,
  getRollout,
  groupExists,
  isPublished,
  type NewPhase,
  phasesOf,
} from './store.ts'
import { targetedSql } from './targeting.ts'
import { planOf } from './window-facts.ts'

type Deps = Pick<Context, 'db' | 'clock'>

/** What would happen, told from what is known now (rollouts.md §10). Writes nothing. */
export async function previewRollout(deps: Deps, rolloutId: string): Promise<PreviewView> {
  const { db, clock } = deps
  const row = await getRollout(db, rolloutId)
  const now = clock.now()
  const question = {
    groupId: row.group_id,
    releaseId: releaseOf(row.release_id),
    companions: (await companionsOf(db, [rolloutId])).map((one) => one.release_id),
    rollout: {
      id: row.id,
      seed: row.seed,
      started: row.started_at !== null,
      isBack: row.kind === 'rollback',
    },
    matching: targetedSql(row.query, now),
    phases: await phasesOf(db, [rolloutId]),
    now,
  }
  return await preview(deps, question, row)
}

/** Who has to renew is known when it is met, by its certificate. */
function releaseOf(releaseId: string | null): string {
  if (releaseId !== null) return releaseId
  const message =
    'A rollout of certificates has no preview: list the certificates of the issuer before'
  throw new DomainError('not-ready', message, { next: 'fleetseal certificate list' })
}

export interface Definition {
  groupId: string
  releaseId: string
  companions?: readonly string[]
  phases: readonly (PreviewPhase & Partial<NewPhase>)[]
  settings?: SettingColumns
}

/** Before there is a rollout there is no seed either: the phases' numbers are what is to be expected, rounded. */
export async function previewDefinition(
  deps: Deps,
  { groupId, releaseId, companions = [], phases, settings = {} }: Definition,
): Promise<PreviewView> {
  const { db, clock } = deps
  if ((await isPublished(db, releaseId)) === undefined) {
    throw new DomainError('not-found', 'No such release', { releaseId })
  }
  if (!(await groupExists(db, groupId))) {
    throw new DomainError('not-found', 'No such group', { groupId })
  }
  const now = clock.now()
  const matching = targetedSql(settings.query, now)
  const question = { groupId, releaseId, companions, matching, phases, now }
  return await preview(deps, question, settings)
}

/** How long a device takes when nobody knows better: the same that windows reckon with. */
const usualMs = 15 * 60_000

type Rules = Pick<
  SettingColumns,
  'max_in_flight' | 'bytes_per_minute' | 'abort_rules' | 'install_window'
> & { needed_ms?: number | null; usual_failed?: number | null }
type Phases = readonly (PreviewPhase & Partial<NewPhase>)[]

async function preview(
  { db }: Deps,
  question: Omit<PreviewQuestion, 'phases' | 'part'> & { phases: Phases },
  rules: Rules,
): Promise<PreviewView> {
  const { phases, now } = question
  const devices = await countMembers(db, question.groupId)
  const part = devices > mostLookedAt ? mostLookedAt / devices : 1
  const found = await previewGroup(db, { ...question, part })
  const lookedAt = sum(found)
  const rows = found.map((row) => ({ ...row, n: lookedAt > 0 ? (row.n * devices) / lookedAt : 0 }))
  const isExact = question.rollout !== undefined && part === 1
  const drawn = devicesOf(phases, rows, question.rollout !== undefined)
  const plan = planOf({
    rule: asJson(rules.install_window),
    rules: null,
    calendars: null,
    ignore: null,
    neededMs: null,
  })
  return {
    devices,
    sampled: part < 1 ? lookedAt : null,
    ...totals(rows),
    phases: rounded(drawn, phases),
    exact: isExact,
    estimate: estimate({
      phases: drawn.map((one, n) => ({ ...one, ...gateOf(phases[n]) })),
      maxInFlight: rules.max_in_flight ?? null,
      bytesPerMinute: rules.bytes_per_minute ?? null,
      size: await sizeOf(db, [question.releaseId, ...question.companions]),
      durationMs: rules.needed_ms ?? usualMs,
      isOpen: (afterMs) => {
        const at = now.getTime() + afterMs
        return (plan.from(at)?.startAt ?? Infinity) <= at
      },
    }),
    stops: stopsOf(rules),
  }
}

/** A column that may be the text of what it holds, as it is written, or that itself, as it is read. */
function asJson(value: unknown): unknown {
  return typeof value === 'string' ? (JSON.parse(value) as unknown) : (value ?? null)
}

function gateOf(phase: Phases[number] | undefined) {
  const rate = Rate.safeParse(asJson(phase?.rate))
  return {
    rate: rate.success ? rate.data : null,
    minExecuted: phase?.min_executed ?? 1,
    soakMs: (phase?.soak_s ?? 0) * 1_000,
    hold: phase?.hold ?? false,
  }
}

const shownExecuted = [20, 100, 1_000]

function stopsOf({ abort_rules, usual_failed }: Rules): PreviewView['stops'] {
  const abort = abortOf(asJson(abort_rules))
  return shownExecuted.flatMap((executed) =>
    failuresToStop(abort, executed, usual_failed ?? null).map(({ rule, failures }) => ({
      rule: rule === 'built-in' ? rule : `${rule.kinds.join(' or ')} above ${rule.percent} %`,
      executed,
      failures,
    })),
  )
}

type Rows = Awaited<ReturnType<typeof previewGroup>>
type Drawn = Pick<EstimatedPhase, 'no' | 'devices'>

/**
 * How many devices each phase adds, if all come: one phase after the other takes of those that are left. Which ones a count
 * takes nobody knows before; it is taken to draw evenly.
 */
function devicesOf(phases: Phases, rows: Rows, isExact: boolean): Drawn[] {
  const left = rows.filter((row) => row.reason === null).map((row) => ({ ...row }))
  let passed = 0
  return phases.map(({ no, percent = null, count }) => {
    const takes = left.filter((row) => row.phases.includes(no))
    const present = sum(takes)
    // Of the devices that no smaller share took, each is equally likely in this one.
    const share = isExact || percent === null ? 1 : (percent - passed) / (100 - passed)
    const wanted = Math.min(present * share, count ?? Infinity)
    const devices: Record<Contact, number> = { now: 0, day: 0, week: 0, never: 0 }
    for (const row of takes) {
      const taken = present > 0 ? (row.n * wanted) / present : 0
      row.n -= taken
      devices[row.contact] += taken
    }
    if (percent !== null) passed = percent
    return { no, devices }
  })
}

/** So that they add up. */
function rounded(drawn: readonly Drawn[], phases: Phases): PreviewView['phases'] {
  let taken = 0
  let shown = 0
  return drawn.map(({ no, devices }, n) => {
    taken += Object.values(devices).reduce((total, one) => total + one, 0)
    const count = Math.round(taken) - shown
    shown += count
    const { percent = null, min_executed = 1 } = phases[n] ?? {}
    return { no, percent, devices: count, says: saysOf(min_executed) }
  })
}

function totals(rows: Rows): Pick<PreviewView, 'eligible' | 'excluded'> {
  const excluded: Record<string, number> = {}
  for (const { reason, n } of rows) {
    if (reason !== null) excluded[reason] = (excluded[reason] ?? 0) + n
  }
  const whole = Object.entries(excluded).map(([reason, n]) => [reason, Math.round(n)] as const)
  return {
    eligible: Math.round(sum(rows.filter((row) => row.reason === null))),
    excluded: Object.fromEntries(whole),
  }
}

function sum(rows: readonly { n: number }[]): number {
  return rows.reduce((total, { n }) => total + n, 0)
}

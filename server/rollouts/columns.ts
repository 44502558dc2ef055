import type { Insertable } from 'kysely'

import type { RolloutTable } from '../db/schema.ts'
import { canonicalQuery } from '../device-query/canonical.ts'
import { secondsOf } from '../protocol/duration.ts'
import { phaseBoundColumns } from './bounds-columns.ts'
import type { bounds } from './bounds-wire.ts'
import { limitColumn } from './limits.ts'
import type { NewPhase } from './store.ts'
import type { RolloutBody } from './wire.ts'

/** What a rollout may be created with; a person may change some of it by an edit (`EditBody`). */
export type SettingColumns = Partial<
  Pick<
    Insertable<RolloutTable>,
    | 'kind'
    | 'certificate_issuer'
    | 'certificate_before'
    | 'query'
    | 'parent_id'
    | 'priority'
    | 'max_in_flight'
    | 'bytes_per_minute'
    | 'pass_queue'
    | 'abort_rules'
    | 'limits'
    | 'install_window'
    | 'ignore_windows'
    | 'approvals_needed'
    | 'start_at'
  >
>

type Settings = Partial<
  Pick<
    RolloutBody,
    | 'abort'
    | 'limits'
    | 'approvals'
    | 'startAt'
    | 'query'
    | 'window'
    | 'ignoreWindows'
    | keyof typeof bounds
  >
>

/**
 * The settings of a body as columns; one line for each. What the body leaves out is left out, so that a draft gets the
 * default of the table and an edit changes nothing; null is the default.
 */
export function settingColumns(body: Settings): SettingColumns {
  return given({
    limits: body.limits === undefined ? undefined : limitColumn(body.limits ?? {}),
    abort_rules: body.abort === undefined ? undefined : JSON.stringify(body.abort ?? []),
    approvals_needed: body.approvals === null ? 0 : body.approvals,
    start_at: typeof body.startAt === 'string' ? new Date(body.startAt) : body.startAt,
    query: body.query === undefined ? undefined : canonicalQuery(body.query),
    install_window: body.window,
    ignore_windows: body.ignoreWindows,
    priority: body.priority === null ? 500 : body.priority,
    max_in_flight: body.maxInFlight,
    bytes_per_minute: body.bytesPerMinute,
    pass_queue: body.passQueue === null ? false : body.passQueue,
  })
}

/** Without what is undefined. */
function given<T extends object>(columns: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(
    Object.entries(columns).filter(([, value]) => value !== undefined),
  ) as typeof columns as { [K in keyof T]?: Exclude<T[K], undefined> }
}

/** The phases of a body as rows; one line for each field. */
export function phaseColumns(phases: RolloutBody['phases']): NewPhase[] {
  return phases.map((phase, n) => ({
    no: n + 1,
    percent: phase.percent ?? null,
    ...phaseBoundColumns(phase),
    success_percent: phase.success.percent,
    min_executed: phase.success.minExecuted,
    hold: phase.hold,
    soak_s: secondsOf(phase.success.soak ?? '') ?? 0,
    max_put_off: phase.success.maxPutOff ?? null,
    within_s: secondsOf(phase.success.within ?? '') ?? null,
  }))
}

import type { Insertable } from 'kysely'

import type { RolloutPhaseTable } from '../db/schema.ts'
import { secondsOf } from '../protocol/duration.ts'
import type { RolloutBody } from './wire.ts'

type Columns = Pick<
  Insertable<RolloutPhaseTable>,
  'kind' | 'count' | 'cohort_id' | 'seen_within_s' | 'rate'
>

/** A phase that takes the first so many proves nothing by devices that are switched off (rollouts.md §5). */
const recentS = 7 * 86_400

export function phaseBoundColumns(phase: RolloutBody['phases'][number]): Columns {
  const { count, cohort, seenWithin, rate } = phase
  const byDefault = count === undefined ? null : recentS
  return {
    kind: count === undefined ? (cohort === undefined ? 'percent' : 'cohort') : 'count',
    count: count ?? null,
    cohort_id: cohort ?? null,
    seen_within_s: seenWithin === undefined ? byDefault : (secondsOf(seenWithin) ?? byDefault),
    rate: rate === undefined ? null : JSON.stringify(rate),
  }
}

import type { z } from 'zod'

import { durationOf } from '../protocol/duration.ts'
import { type BoundsView, type PhaseBoundsView, Rate } from './bounds-wire.ts'
import type { PhaseProgress } from './progress.ts'
import type { Rollout } from './store.ts'

export function boundsOf(rollout: Rollout): z.infer<typeof BoundsView> {
  return {
    priority: rollout.priority,
    maxInFlight: rollout.max_in_flight,
    bytesPerMinute: rollout.bytes_per_minute,
    passQueue: rollout.pass_queue,
  }
}

type Extent = 'percent' | 'count' | 'cohortId' | 'seenWithinS' | 'rate' | 'admitted'

export function phaseBoundsOf(phase: Pick<PhaseProgress, Extent>): z.infer<typeof PhaseBoundsView> {
  return {
    percent: phase.percent,
    count: phase.count,
    cohort: phase.cohortId,
    seenWithin: phase.seenWithinS === null ? null : durationOf(phase.seenWithinS),
    rate: phase.rate === null ? null : Rate.parse(phase.rate),
    admitted: phase.admitted,
  }
}

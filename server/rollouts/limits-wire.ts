import { z } from 'zod'

import { secondsOf } from '../protocol/duration.ts'
import { Span } from './gate-wire.ts'

/** States that a deployment may stay in only so long (rollouts.md §7). */
export const limitedStates = [
  'accepted',
  'downloading',
  'verified',
  'waiting_window',
  'installing',
  'installed',
  'rebooting',
  'testing',
  'failed',
] as const
export type LimitedState = (typeof limitedStates)[number]

/** Shorter ones would be over before a device that does well says so. */
export const leastLimitS = 300

/** For this rollout, in place of the server's; what is not named keeps that. */
export const Limits = z.partialRecord(
  z.enum(limitedStates),
  Span.refine((text) => (secondsOf(text) ?? 0) >= leastLimitS, 'five minutes at least'),
)
export type Limits = z.infer<typeof Limits>

export const LimitsView = z.partialRecord(z.enum(limitedStates), z.string())

import { z } from 'zod'

import { secondsOf } from '../protocol/duration.ts'

const devices = z.int().min(1).max(1_000_000_000)
const perMinute = z.int().min(1).max(1_000_000)

/**
 * How many devices a phase admits in any minute: always the same number, or one that grows with each `step` devices that were
 * admitted or succeeded in the phase (rollouts.md §6).
 */
export const Rate = z.union([
  z.strictObject({ perMinute }),
  z
    .strictObject({
      basePerMinute: perMinute,
      factor: z.number().min(1.1).max(5),
      per: z.enum(['admitted', 'succeeded']).default('succeeded'),
      step: devices,
      maxPerMinute: perMinute,
    })
    .refine(
      (rate) => rate.maxPerMinute >= rate.basePerMinute,
      'maxPerMinute must not be below basePerMinute',
    ),
])
export type Rate = z.infer<typeof Rate>

const longestS = 366 * 86_400

/** `P7D`: weeks to seconds, at most 366 days. */
export const Duration = z
  .string()
  .max(32)
  .refine((text) => {
    const seconds = secondsOf(text) ?? 0
    return seconds > 0 && seconds <= longestS
  }, 'must be a duration like P7D or PT12H, at most 366 days')

/** Of a rollout; null is the default, as for all settings. */
export const bounds = {
  /** Where a device could take part in several rollouts, the higher goes first; 500 unless said. */
  priority: z.int().min(0).max(1000).nullish(),
  /** Deployments that hold a slot, at most: from the admission to the end, without the time that an owner takes to decide. */
  maxInFlight: z.int().min(1).max(100_000_000).nullish(),
  /** What the admitted devices may cause in downloads, by the size of the images. */
  bytesPerMinute: z.int().min(1).max(1_000_000_000_000_000).nullish(),
  /** Before every other rollout, and into the reserve of the server's own bound; for security releases. */
  passQueue: z.boolean().nullish(),
}

/** Of a phase. Exactly one of `percent`, `count` and `cohort` says whom it takes. */
export const phaseBounds = {
  /** The first so many devices that are met. */
  count: devices.optional(),
  /** A group, as it is when the rollout starts. */
  cohort: z.uuid().toLowerCase().optional(),
  /** Only devices that were heard of in this time: seven days for a `count`, whenever for the others. */
  seenWithin: Duration.optional(),
  rate: Rate.optional(),
}

export const BoundsView = z.object({
  priority: z.number(),
  maxInFlight: z.number().nullable(),
  bytesPerMinute: z.number().nullable(),
  passQueue: z.boolean(),
})

export const PhaseBoundsView = z.object({
  percent: z.number().nullable(),
  count: z.number().nullable(),
  cohort: z.string().nullable(),
  seenWithin: z.string().nullable(),
  rate: Rate.nullable(),
  /** Counted where a `count` or a bound makes it necessary; else 0. */
  admitted: z.number(),
})

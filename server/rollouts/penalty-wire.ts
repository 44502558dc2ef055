import { z } from 'zod'

export const PenaltyParams = z.object({ deviceId: z.uuid().toLowerCase() })

export const LiftBody = z.strictObject({
  action: z.literal('lift'),
  reason: z
    .string()
    .trim()
    .min(1)
    .max(500)
    .regex(/^[^\p{Cc}\p{Cs}]+$/u, 'must not hold control characters'),
  /** The builds that it rolled back from may be offered to it again too. */
  rolledBack: z.boolean().default(false),
})

export const PenaltyView = z.object({
  /** No new offers before that; null while it may be offered something. */
  until: z.iso.datetime().nullable(),
  /** A deployment failed, or five tries within a day. */
  why: z.enum(['failed', 'tries']).nullable(),
  /** Never offered again, until somebody lifts it. */
  rolledBackFrom: z.array(
    z.object({
      releaseId: z.string(),
      component: z.string(),
      version: z.string(),
      build: z.number(),
      at: z.iso.datetime(),
    }),
  ),
})
export type PenaltyView = z.infer<typeof PenaltyView>

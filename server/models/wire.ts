import { z } from 'zod'

const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
/** Enters signed metadata, so it keeps to its string rule and more (updates.md 2.1). */
const hardwareId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)

/** `22:00-06:00`, hours of the day. */
const span = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$/)
const hours = (least: number) => z.int().min(least).max(8_760)
const Postpone = z.strictObject({
  eachH: hours(1),
  graceH: hours(0),
  maxCount: z.int().min(0).max(1_000),
  totalH: hours(1),
})

/** Where updates that install themselves are not what owners expect (CRA recital 56). */
export const applicabilities = [
  'applicable',
  'component',
  'professional_network',
  'industrial',
] as const

/**
 * The maker's rules for a model (updates.md 7.2). What is left out is the default: security updates install themselves, and
 * may be put off as long as the table there says.
 */
const policy = {
  autoUpdateApplicability: z.enum(applicabilities).default('applicable'),
  /** Do security updates install themselves? Absent: yes, exactly where they are applicable. */
  autoSecurity: z.boolean().optional(),
  /** Needed for everything but the default: it is kept for the technical documentation. */
  justification: z.string().trim().min(10).max(2_000).optional(),
  postpone: z
    .strictObject({ security: Postpone.optional(), exploited: Postpone.optional() })
    .default({}),
  /** Device-local hours in which a restart disturbs nobody, where the owner has set none. */
  quiet: z.array(span).max(4).default([]),
}
export const ModelPolicyBody = z.strictObject(policy)
export type ModelPolicy = z.infer<typeof ModelPolicyBody>

/** What is in force, and why. */
export const ModelPolicyView = z.object({ ...policy, autoSecurity: z.boolean() })

export const ModelParams = z.object({ model: z.string().min(1).max(64) })

export const NewModelBody = z.strictObject({
  name,
  hardwareIds: z
    .array(hardwareId)
    .min(1)
    .max(64)
    .refine((ids) => new Set(ids).size === ids.length, 'each hardware id once'),
})

export const ModelView = z.object({
  id: z.uuid(),
  name: z.string(),
  hardwareIds: z.array(z.string()),
  policy: ModelPolicyView,
  /** For `If-Match`: another one after each change of the policy. */
  version: z.int(),
  createdAt: z.iso.datetime(),
})
export type ModelView = z.infer<typeof ModelView>

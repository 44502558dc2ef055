import { z } from 'zod'

const name = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[^\p{Cc}\p{Cs}]+$/u, 'must not hold control characters')

/** Of a rollout that is made of another one; its name is made of the other's when none is given. */
export const DeriveBody = z.strictObject({ name: name.optional() })

/** Why a device cannot be given back what it had. */
const reasons = [
  'device-blocked',
  'left-group',
  'unknown-before',
  'no-release',
  'withdrawn',
  'security-version',
  'incompatible',
] as const

export const RollbackView = z.object({
  /** Devices that have the release, or may have it. */
  devices: z.number(),
  /** What they would go back to. */
  back: z.array(
    z.object({
      releaseId: z.string(),
      component: z.string(),
      version: z.string(),
      build: z.number(),
      devices: z.number(),
    }),
  ),
  /** Those that cannot, by reason, and what a person can do about it. */
  cannot: z.array(z.object({ reason: z.enum(reasons), devices: z.number(), remedy: z.string() })),
})
export type RollbackView = z.infer<typeof RollbackView>

export const NoWayBackView = z.object({
  deviceId: z.string(),
  reason: z.enum(reasons),
  /** What it had before; null when that is not known, or no release of this server. */
  releaseId: z.string().nullable(),
})
export type NoWayBackView = z.infer<typeof NoWayBackView>

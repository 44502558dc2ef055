import { z } from 'zod'

import { estOperations, keyAlgorithms } from './state.ts'

export const ProfileParams = z.object({ profileId: z.uuid().lowercase() })
export const TokenParams = z.object({
  profileId: z.uuid().lowercase(),
  tokenId: z.uuid().lowercase(),
})

const instant = z.iso.datetime({ offset: true }).transform((text) => new Date(text))

export const NewProfileBody = z.strictObject({
  /** Also the EST label and the user name of HTTP Basic. */
  name: z
    .string()
    .regex(
      /^[a-z0-9][a-z0-9-]{0,62}$/,
      'must be 1 to 63 lower-case letters, digits and hyphens, and not begin with a hyphen',
    )
    .refine((name) => !estOperations.some((operation) => operation === name), {
      error: 'is the name of an EST operation',
    }),
  groupId: z.uuid().lowercase(),
  auth: z.strictObject({
    type: z.enum(['token', 'certificate']),
    trustAnchors: z.array(z.string().max(20_000)).max(20).optional(),
  }),
  registration: z.enum(['just-in-time', 'pre-registered']),
  /** What identities of devices must match as a whole; syntax in id-pattern.ts. */
  idPattern: z.string().min(2).max(200).optional(),
  /** How many devices may enroll, in total. */
  quota: z.number().int().min(0).max(1_000_000_000).optional(),
  validFrom: instant.optional(),
  validUntil: instant.optional(),
  approval: z.enum(['none', 'manual']).optional(),
  /** Key algorithms devices may use; all by default. */
  keyPolicy: z.array(z.enum(keyAlgorithms)).min(1).max(keyAlgorithms.length).optional(),
  certificateDays: z.number().int().min(1).max(398).default(90),
})
export type NewProfileBody = z.infer<typeof NewProfileBody>

export const ProfileView = z.object({
  id: z.uuid(),
  name: z.string(),
  groupId: z.uuid(),
  auth: z.object({ type: z.enum(['token', 'certificate']) }),
  registration: z.enum(['just-in-time', 'pre-registered']),
  idPattern: z.string().nullable(),
  quota: z.number().nullable(),
  /** Enrollments so far. */
  used: z.number(),
  validFrom: z.iso.datetime().nullable(),
  validUntil: z.iso.datetime().nullable(),
  approval: z.literal('none'),
  keyPolicy: z.array(z.string()),
  certificateDays: z.number(),
  createdAt: z.iso.datetime(),
})
export type ProfileView = z.infer<typeof ProfileView>

export const NewTokenBody = z.strictObject({
  maxUses: z.number().int().min(1).max(1_000_000_000).optional(),
  expiresAt: instant.optional(),
})

const token = {
  id: z.uuid(),
  maxUses: z.number().nullable(),
  uses: z.number(),
  expiresAt: z.iso.datetime().nullable(),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
}
export const TokenView = z.object(token)
export type TokenView = z.infer<typeof TokenView>

export const NewTokenView = z.object({
  ...token,
  /** The password of HTTP Basic. Shown here and never again. */
  token: z.string(),
})

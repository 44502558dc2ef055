import { z } from 'zod'

export const ScepParams = z.object({ profileId: z.uuid().lowercase() })
export const ChallengeParams = z.object({
  profileId: z.uuid().lowercase(),
  challengeId: z.uuid().lowercase(),
})

const rules = {
  enabled: z.boolean(),
  /** For a line of old devices: messages signed with SHA-1, encrypted with triple DES, or written in BER. */
  allowSha1: z.boolean().default(false),
  allowTripleDes: z.boolean().default(false),
  allowBer: z.boolean().default(false),
}

/** All of it at once: what is left out has its default. */
export const ScepPolicyBody = z.strictObject(rules)
export type ScepPolicyBody = z.infer<typeof ScepPolicyBody>

export const ScepPolicyView = z.object({
  ...rules,
  /** What a device is told to use. */
  url: z.string(),
  /** Null while it is the default. */
  changedAt: z.iso.datetime().nullable(),
  /** For `If-Match`: another one after each change; 0 while it is the default. */
  version: z.int(),
})
export type ScepPolicyView = z.infer<typeof ScepPolicyView>

export const NewChallengeBody = z.strictObject({
  /** Of the one device that may use it. */
  serialNumber: z.string().regex(/^[\x21-\x7e]{1,64}$/, 'must be 1 to 64 visible ASCII characters'),
  validMinutes: z
    .number()
    .int()
    .min(1)
    .max(43_200)
    .default(24 * 60),
})
export type NewChallengeBody = z.infer<typeof NewChallengeBody>

const challenge = {
  id: z.uuid(),
  serialNumber: z.string(),
  isUsed: z.boolean(),
  expiresAt: z.iso.datetime().nullable(),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
}
export const ChallengeView = z.object(challenge)
export type ChallengeView = z.infer<typeof ChallengeView>

export const NewChallengeView = z.object({
  ...challenge,
  /** The challengePassword of the request. Shown here and never again. */
  challenge: z.string(),
  url: z.string(),
})
export type NewChallengeView = z.infer<typeof NewChallengeView>

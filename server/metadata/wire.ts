import { z } from 'zod'

const version = z.int().min(1)
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const fileText = z.string().min(2).max(65_536)

const TufKey = z.strictObject({
  keytype: z.literal('ed25519'),
  scheme: z.literal('ed25519'),
  keyval: z.strictObject({ public: sha256 }),
})

export const RoleParams = z.object({ role: z.string().min(1).max(64) })
export const VersionParams = RoleParams.extend({
  version: z
    .string()
    .regex(/^[1-9][0-9]{0,14}$/)
    .transform(Number),
})

/** `public.json` of `fleetseal sign init`; what else it says for people is left out. */
export const RootsBody = z.object({
  image: z.object({ root: fileText, targets: fileText }),
  director: z.object({ root: fileText }),
  releaseKeys: z.array(TufKey).min(2).max(16),
})

export const RootsView = z.object({
  evaluation: z.boolean(),
  /** False when the same files were imported before. */
  isNew: z.boolean(),
})

/** Only a root brings a text: the next one with other keys. */
export const RenewalBody = z.strictObject({ signed: fileText.optional() })

export const SignaturesBody = z.strictObject({
  signedSha256: sha256,
  signatures: z
    .array(
      z.strictObject({
        keyid: sha256,
        sig: z.string().regex(/^[0-9a-f]{128}$/),
      }),
    )
    .min(1)
    .max(16),
})

export const SignedView = z.object({
  role: z.string(),
  version,
  state: z.enum(['draft', 'published']),
  signatures: z.int(),
  threshold: z.int(),
})

export const OnlineKeysView = z.object({
  image: z.object({ snapshot: TufKey, timestamp: TufKey }),
  director: z.object({ targets: TufKey, snapshot: TufKey, timestamp: TufKey }),
})

const repository = z.enum(['image', 'director'])

export const RoleView = z.object({
  role: z.string(),
  repository,
  published: z.object({ version, expiresAt: z.iso.datetime() }).nullable(),
  draft: z
    .object({
      version,
      expiresAt: z.iso.datetime(),
      signedSha256: sha256,
      signatures: z.int(),
      /** Null while the role's keys are not delegated. */
      threshold: z.int().nullable(),
    })
    .nullable(),
})
export type RoleView = z.infer<typeof RoleView>
export const RolesView = z.object({ items: z.array(RoleView), nextCursor: z.null() })

/** What the offline signer reads; texts are exact. */
export const DraftView = z.object({
  repository,
  role: z.string(),
  version,
  expires: z.string(),
  signed: z.string(),
  signedSha256: sha256,
  previous: z.string().optional(),
  rootChain: z.array(z.string()),
  targets: z.string().optional(),
})
export type DraftView = z.infer<typeof DraftView>

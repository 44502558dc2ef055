import { z } from 'zod'

const version = z.int().min(1)
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const fileText = z.string().min(2).max(65_536)

const TufKey = z.strictObject({
  keytype: z.literal('ed25519'),
  scheme: z.literal('ed25519'),
  keyval: z.strictObject({ public: sha256 }),
})

/** ML-DSA (FIPS 204); `public` is base64 of the raw key (updates.md 10). */
const PqKey = z.strictObject({
  keytype: z.literal('ml-dsa'),
  scheme: z.enum(['ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87']),
  keyval: z.strictObject({ public: z.base64().max(4096) }),
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
  releasePqKeys: z.array(PqKey).max(16).optional(),
})

export const RootsView = z.object({
  evaluation: z.boolean(),
  /** False when the same files were imported before. */
  isNew: z.boolean(),
})

/** Only a root brings a text: the next one with other keys. */
export const RenewalBody = z.strictObject({ signed: fileText.optional() })

/** All keys that may sign releases; of a hybrid one each half is an entry. */
export const ReleaseKeysBody = z.strictObject({
  keys: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[a-z0-9][a-z0-9.-]{0,63}$/),
        key: z.discriminatedUnion('keytype', [TufKey, PqKey]),
      }),
    )
    .min(2)
    .max(32),
})
export const ReleaseKeysView = z.object({
  keys: z.array(
    z.object({
      name: z.string(),
      keyid: sha256,
      key: z.object({
        keytype: z.string(),
        scheme: z.string(),
        keyval: z.object({ public: z.string() }),
      }),
    }),
  ),
})

/** Which keys of the server are to be replaced: all of a repository when no roles are named. */
export const OnlineRotationBody = z.strictObject({
  repository: z.enum(['image', 'director']),
  roles: z
    .array(z.enum(['targets', 'snapshot', 'timestamp']))
    .min(1)
    .max(3)
    .optional(),
  /** Other keys in the place of keys that wait for their root already. */
  again: z.boolean().optional(),
})

export const SignaturesBody = z.strictObject({
  signedSha256: sha256,
  signatures: z
    .array(
      z.strictObject({
        keyid: sha256,
        sig: z.string().regex(/^[0-9a-f]{128}$/),
      }),
    )
    .max(16),
  /** Of the ML-DSA halves of hybrid keys; over the same text, with the context `fleetseal-tuf-v1`. */
  pqSignatures: z
    .array(z.strictObject({ keyid: sha256, sig: z.base64().max(8192) }))
    .max(16)
    .optional(),
})

export const SignedView = z.object({
  role: z.string(),
  version,
  state: z.enum(['draft', 'published']),
  signatures: z.int(),
  threshold: z.int(),
  /** Thresholds that are not met yet: of a root also those of the keys it names itself. */
  missing: z.array(
    z.object({
      keys: z.enum(['current', 'next']),
      scheme: z.enum(['ed25519', 'ml-dsa']),
      signatures: z.int(),
      threshold: z.int(),
    }),
  ),
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

import { z } from 'zod'

import { SeriesName } from '../authorities/wire.ts'
import {
  estOperations,
  keyAlgorithms,
  profileActions,
  requestActions,
  requestStates,
} from './state.ts'

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
    /**
     * `token`: HTTP Basic. `certificate`: the one its manufacturer gave to each device (IDevID), issued below one of the anchors.
     * `claim`: a shared, counted certificate that was registered with the profile.
     */
    type: z.enum(['token', 'certificate', 'claim']),
    /** PEM; each is matched by its subject and key. Needed for `certificate`, possible for `claim`. */
    trustAnchors: z.array(z.string().max(20_000)).max(20).optional(),
  }),
  registration: z.enum(['just-in-time', 'pre-registered']),
  /** What identities of devices must match as a whole; syntax in id-pattern.ts. */
  idPattern: z.string().min(2).max(200).optional(),
  /** How many devices may enroll, in total. */
  quota: z.number().int().min(0).max(1_000_000_000).optional(),
  /** How many in an hour, which begins with the first of them. */
  quotaPerHour: z.number().int().min(1).max(1_000_000).optional(),
  /** Where they enroll from, in CIDR; from anywhere by default. Renewals are not bound to it. */
  sourceNetworks: z
    .array(z.union([z.cidrv4(), z.cidrv6()]))
    .max(64)
    .optional(),
  validFrom: instant.optional(),
  validUntil: instant.optional(),
  /** `manual`: each request waits until somebody approves it. */
  approval: z.enum(['none', 'manual']).optional(),
  /** May a device that has a certificate enroll again? Only with the key it has, or with any. */
  replaceable: z.enum(['off', 'same-key', 'on']).optional(),
  /** Is asked before each enrollment, and may refuse it; see webhook.ts. */
  webhook: z.strictObject({ url: z.url().max(500) }).optional(),
  /** Key algorithms devices may use; all by default. */
  keyPolicy: z.array(z.enum(keyAlgorithms)).min(1).max(keyAlgorithms.length).optional(),
  certificateDays: z.number().int().min(1).max(398).default(90),
  /**
   * Their owners agreed that the operator may override what they choose about updates (updates.md 7.2). It counts only for
   * devices that say the same of themselves.
   */
  managed: z.boolean().default(false),
  /** Whose certificates devices get: of the active authority of this series; of the default one when left out. */
  issuerSeries: SeriesName.optional(),
})
/** Null is the default series. */
export const ProfileIssuerBody = z.strictObject({ series: SeriesName.nullable() })

export type NewProfileBody = z.infer<typeof NewProfileBody>

export const ProfileView = z.object({
  id: z.uuid(),
  name: z.string(),
  groupId: z.uuid(),
  auth: z.object({
    type: z.enum(['token', 'certificate', 'claim']),
    trustAnchors: z.array(z.object({ subject: z.string(), sha256: z.string() })),
  }),
  registration: z.enum(['just-in-time', 'pre-registered']),
  idPattern: z.string().nullable(),
  quota: z.number().nullable(),
  /** Enrollments so far. */
  used: z.number(),
  quotaPerHour: z.number().nullable(),
  sourceNetworks: z.array(z.string()),
  /** Nobody enrolls until it is resumed. */
  pausedAt: z.iso.datetime().nullable(),
  validFrom: z.iso.datetime().nullable(),
  validUntil: z.iso.datetime().nullable(),
  approval: z.enum(['none', 'manual']),
  replaceable: z.enum(['off', 'same-key', 'on']),
  webhook: z.object({ url: z.string() }).nullable(),
  keyPolicy: z.array(z.string()),
  certificateDays: z.number(),
  managed: z.boolean(),
  issuerSeries: z.string().nullable(),
  createdAt: z.iso.datetime(),
  /** For `If-Match`: another one after each change of whose authority issues. */
  version: z.int(),
})
export type ProfileView = z.infer<typeof ProfileView>

export const NewProfileView = z.object({
  ...ProfileView.shape,
  /** What the webhook's requests are signed with. Shown here and never again. */
  webhookSecret: z.string().nullable(),
})

export const ProfileActionBody = z.strictObject({
  action: z.enum(profileActions),
  reason: z.string().trim().min(1).max(500).optional(),
})

const renewal = {
  /** When the renewal window opens, in percent of a certificate's life. */
  opensPercent: z.number().int().min(0).max(90).default(60),
  /** Over how much of that life, from there, a fleet is spread. */
  jitterPercent: z.number().int().min(0).max(30).default(15),
  /** How long after its end a certificate may still fetch its successor; 0 is not at all. */
  graceDays: z.number().int().min(0).max(3650).default(0),
  /** Whether a renewal may, must or must not bring another key. */
  key: z.enum(['any', 'new', 'same']).default('any'),
  /** Certificates issued before this are renewed out of turn, spread over the hours from then. */
  issuedBefore: instant.nullable().default(null),
  spreadHours: z.number().int().min(1).max(2160).default(24),
  /** How long the certificate before is good beside a new one that is never used; null is until it ends by itself. */
  overlapDays: z.number().int().min(1).max(398).nullable().default(null),
}

/** All of it at once: what is left out has its default. */
export const EstPolicyBody = z.strictObject({
  renewal: z.strictObject(renewal).prefault({}),
  /** CsrAttrs of RFC 8951 §3.2: DER in base64. Null answers 204. */
  csrAttributes: z.base64().min(4).max(5464).nullable().default(null),
  /** Whether requests must carry the binding of their TLS connection as challengePassword (RFC 7030 §3.5). */
  channelBinding: z.enum(['optional', 'required']).default('optional'),
  /** The kind of key that serverkeygen makes for devices; null does not offer it. */
  serverKey: z.enum(keyAlgorithms).nullable().default(null),
})
export type EstPolicyBody = z.infer<typeof EstPolicyBody>

export const EstPolicyView = z.object({
  renewal: z.object({ ...renewal, issuedBefore: z.iso.datetime().nullable() }),
  csrAttributes: z.string().nullable(),
  channelBinding: z.enum(['optional', 'required']),
  serverKey: z.enum(keyAlgorithms).nullable(),
  /** Null while it is the default. */
  changedAt: z.iso.datetime().nullable(),
  /** For `If-Match`: another one after each change; 0 while it is the default. */
  version: z.int(),
})
export type EstPolicyView = z.infer<typeof EstPolicyView>

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

export const RequestParams = z.object({ requestId: z.uuid().lowercase() })

export const requestFilter = {
  profileId: z.uuid().lowercase().optional(),
  state: z.enum(requestStates).optional(),
}

export const RequestActionBody = z.strictObject({
  action: z.enum(requestActions),
  reason: z.string().trim().min(1).max(500).optional(),
})

/** A request for a first certificate that a person decides on. */
export const RequestView = z.object({
  id: z.uuid(),
  profileId: z.uuid(),
  tokenId: z.uuid(),
  serialNumber: z.string(),
  keyAlgorithm: z.string(),
  /** Of the public key (SubjectPublicKeyInfo), lower hex: what to compare with the device in one's hand. */
  keySha256: z.string(),
  state: z.enum(requestStates),
  decidedBy: z.string().nullable(),
  decidedAt: z.iso.datetime().nullable(),
  reason: z.string().nullable(),
  createdAt: z.iso.datetime(),
  /** When the device last asked. */
  lastSeenAt: z.iso.datetime(),
})
export type RequestView = z.infer<typeof RequestView>

/** Who holds its key can enroll devices of this profile, and nothing else. */
export const NewClaimBody = z
  .strictObject({
    /** PEM of a certificate that somebody else issued. */
    certificate: z.string().max(20_000).optional(),
    /** Or a request, PEM or base64, for one of ours. */
    csr: z.string().max(20_000).optional(),
    /** How long ours is valid. */
    days: z.number().int().min(1).max(30).default(30),
    maxUses: z.number().int().min(1).max(1_000_000),
    /** Of the certificate of somebody else: earlier than it ends by itself. */
    expiresAt: instant.optional(),
  })
  .refine(({ certificate, csr }) => (certificate === undefined) !== (csr === undefined), {
    error: 'needs certificate or csr, and not both',
  })

export const CredentialView = z.object({
  ...token,
  kind: z.enum(['token', 'claim', 'manufacturer', 'batch', 'challenge']),
  /** Of the certificate, lower hex. */
  fingerprint: z.string().nullable(),
  /** The one serial number that it may enroll. */
  serialNumber: z.string().nullable(),
})
export type CredentialView = z.infer<typeof CredentialView>

export const NewClaimView = z.object({
  ...CredentialView.shape,
  /** PEM of the certificate and its issuer, when it is one of ours. */
  certificate: z.string().nullable(),
})

export const ImportQuery = z.strictObject({
  /** Says what would happen and changes nothing. */
  dryRun: z.enum(['true', 'false']).default('false'),
})

export const ImportView = z.object({
  dryRun: z.boolean(),
  rows: z.number(),
  registered: z.number(),
  /** They were registered in this profile before. */
  unchanged: z.number(),
  refused: z.number(),
  /** Of those that were refused, the first 10,000. */
  errors: z.array(z.object({ line: z.number(), serialNumber: z.string(), message: z.string() })),
})
export type ImportView = z.infer<typeof ImportView>

export const BatchParams = z.object({ batchId: z.uuid().lowercase() })

/** A file of certificate requests, and how far it is. */
export const BatchView = z.object({
  id: z.uuid(),
  profileId: z.uuid(),
  state: z.enum(['loading', 'running', 'done']),
  total: z.number(),
  issued: z.number(),
  failed: z.number(),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
  finishedAt: z.iso.datetime().nullable(),
})
export type BatchView = z.infer<typeof BatchView>

export const BatchRowView = z.object({
  /** Of the file, from 1, without the header. */
  row: z.number(),
  state: z.enum(['waiting', 'issued', 'failed']),
  message: z.string().nullable(),
  serialNumber: z.string().nullable(),
  fingerprint: z.string().nullable(),
  /** PEM. */
  certificate: z.string().nullable(),
})
export type BatchRowView = z.infer<typeof BatchRowView>

export const KeyBundleParams = z.object({ deviceId: z.uuid().lowercase() })

export const KeyBundleBody = z.strictObject({
  /** What the device's software can use. */
  keyAlgorithm: z.enum(['P-256', 'P-384', 'RSA-2048']).default('P-256'),
})
export type KeyBundleBody = z.infer<typeof KeyBundleBody>

export const KeyBundleView = z.object({
  certificateId: z.uuid(),
  notAfter: z.iso.datetime(),
  /** Key, certificate and issuers: DER in base64, encrypted to the passphrase. Shown here and never again. */
  pkcs12: z.string(),
  passphrase: z.string(),
})
export type KeyBundleView = z.infer<typeof KeyBundleView>

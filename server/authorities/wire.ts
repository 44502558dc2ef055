import { z } from 'zod'

import {
  authorityActions,
  authorityAlgorithms,
  authorityPurposes,
  authorityStates,
  issuerPurposes,
} from './state.ts'

/** A few certificates, or one request. */
const pem = z.string().min(1).max(32_768)

export const AuthorityParams = z.object({ authorityId: z.uuid().lowercase() })
export const RequestParams = z.object({ requestId: z.uuid().lowercase() })

export const SeriesName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'must be 1 to 32 lower-case letters, digits and hyphens')

const making = {
  /** Authorities of a series follow one another, beside those of other series. Only issuers of devices have several. */
  series: SeriesName.optional(),
  /** Of the new key; ML-DSA-65 below a root with ML-DSA, and P-256 below another, when left out. */
  algorithm: z.enum(authorityAlgorithms).optional(),
  /** The key is in a token: an RFC 7512 URI that names token and key. Made there when the token does not have it. */
  keyUri: z.string().min(1).max(1024).optional(),
}

export const NewAuthorityBody = z.strictObject({ purpose: z.enum(authorityPurposes), ...making })
export const AuthorityActionBody = z.strictObject({ action: z.enum(authorityActions) })

export const AuthorityView = z.object({
  id: z.uuid(),
  purpose: z.enum(authorityPurposes),
  name: z.string(),
  state: z.enum(authorityStates),
  series: z.string(),
  /** Of its key. */
  algorithm: z.string(),
  /** Null for a root. */
  issuerId: z.uuid().nullable(),
  /** Whether this server can sign with it: the private key is here, wrapped, or in a token. A root may be elsewhere. */
  hasKey: z.boolean(),
  /** Where in a token the key is; null for one that is not in a token. */
  keyUri: z.string().nullable(),
  /** When the private key was destroyed, after everything under the authority had ended. */
  keyDestroyedAt: z.iso.datetime().nullable(),
  /** Since when the list of its root says that it is revoked. */
  revokedAt: z.iso.datetime().nullable(),
  /** SHA-256 of the certificate, hex. */
  fingerprint: z.string(),
  notBefore: z.iso.datetime(),
  notAfter: z.iso.datetime(),
  /** PEM. */
  certificate: z.string(),
  createdAt: z.iso.datetime(),
  changedAt: z.iso.datetime(),
})
export type AuthorityView = z.infer<typeof AuthorityView>

/** The file of `fleetseal ceremony`: the new root's certificate and those that lead to it and from it. */
export const RootFileBody = z.strictObject({ file: pem })

export const NewRequestBody = z.strictObject({ purpose: z.enum(issuerPurposes), ...making })
export const AnswerBody = z.strictObject({ answer: pem })

export const AuthorityRequestView = z.object({
  id: z.uuid(),
  purpose: z.enum(issuerPurposes),
  name: z.string(),
  series: z.string(),
  /** Where in a token the key is; null for one that is here, wrapped. */
  keyUri: z.string().nullable(),
  /** The root that is asked. */
  rootId: z.uuid(),
  /** The request file, PEM; not secret. */
  request: z.string(),
  createdAt: z.iso.datetime(),
})
export type AuthorityRequestView = z.infer<typeof AuthorityRequestView>

export const KekActionBody = z.strictObject({ action: z.enum(['rotate', 'confirm']) })

export const KekView = z.object({
  /** Null while it is the first one. */
  rotatedAt: z.iso.datetime().nullable(),
  /** Whether the key before is still kept aside, until a `confirm`. */
  isPreviousKept: z.boolean(),
})
export type KekView = z.infer<typeof KekView>

import { z } from 'zod'

import { authorityActions, authorityPurposes, authorityStates, issuerPurposes } from './state.ts'

/** A few certificates, or one request. */
const pem = z.string().min(1).max(32_768)

export const AuthorityParams = z.object({ authorityId: z.uuid().lowercase() })
export const RequestParams = z.object({ requestId: z.uuid().lowercase() })

export const NewAuthorityBody = z.strictObject({ purpose: z.enum(authorityPurposes) })
export const AuthorityActionBody = z.strictObject({ action: z.enum(authorityActions) })

export const AuthorityView = z.object({
  id: z.uuid(),
  purpose: z.enum(authorityPurposes),
  name: z.string(),
  state: z.enum(authorityStates),
  /** Null for a root. */
  issuerId: z.uuid().nullable(),
  /** Whether the private key is here, wrapped. A root may be elsewhere. */
  hasKey: z.boolean(),
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

export const NewRequestBody = z.strictObject({ purpose: z.enum(issuerPurposes) })
export const AnswerBody = z.strictObject({ answer: pem })

export const AuthorityRequestView = z.object({
  id: z.uuid(),
  purpose: z.enum(issuerPurposes),
  name: z.string(),
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

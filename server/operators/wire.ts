import { z } from 'zod'

import { GrantView, RoleName, ScopeGroups } from '../access/wire.ts'
import { permissions } from '../protocol/permissions.ts'

export const ApiKeyParams = z.object({ keyId: z.uuid().lowercase() })

export const NewApiKeyBody = z.strictObject({
  name: z.string().trim().min(1).max(100),
  /** One that is always there, or one of your own (GET /roles). */
  role: RoleName,
  /** Only for devices that are in all of these groups; none: wherever the role says. */
  groupIds: ScopeGroups.default([]),
  /** Absent: valid until revoked. */
  expiresAt: z.iso.datetime().max(40).optional(),
  /** The person that answers for it: once disabled, the key stops. */
  ownerId: z.uuid().lowercase().optional(),
})

export const RotateApiKeyBody = z.strictObject({
  /** For so long the present secret works beside the new one; 0 ends it at once. */
  overlapHours: z.int().min(0).max(720).default(24),
})

export const ApiKeyView = z.object({
  id: z.uuid(),
  name: z.string(),
  /** The first of `grants`, for those who have one only; empty for none. */
  role: z.string(),
  grants: z.array(GrantView),
  /** The first characters of the key. */
  prefix: z.string(),
  ownerId: z.uuid().nullable(),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
  /** When its secret was last made anew, and until when the one before works beside it. */
  rotatedAt: z.iso.datetime().nullable(),
  overlapEndsAt: z.iso.datetime().nullable(),
  expiresAt: z.iso.datetime().nullable(),
  lastUsedAt: z.iso.datetime().nullable(),
  revokedAt: z.iso.datetime().nullable(),
})
export type ApiKeyView = z.infer<typeof ApiKeyView>

/** The answer to the POST alone: `secret` is shown here and never again. */
export const NewApiKeyView = ApiKeyView.extend({ secret: z.string() })
export type NewApiKeyView = z.infer<typeof NewApiKeyView>

export const CertificateParams = z.object({ certificateId: z.uuid().lowercase() })

export const NewOperatorCertificateBody = z.strictObject({
  name: z.string().trim().min(1).max(100),
  /** PEM of one certificate, whoever signed it, also itself. The key stays with its holder. */
  certificate: z.string().min(1).max(20_000),
  role: RoleName,
  groupIds: ScopeGroups.default([]),
  /** The person that answers for it: once disabled, the certificate opens nothing. */
  ownerId: z.uuid().lowercase().optional(),
})

export const OperatorCertificateView = z.object({
  id: z.uuid(),
  name: z.string(),
  /** Lower hex SHA-256 of the DER. */
  fingerprint: z.string(),
  grants: z.array(GrantView),
  ownerId: z.uuid().nullable(),
  notBefore: z.iso.datetime(),
  notAfter: z.iso.datetime(),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
  lastUsedAt: z.iso.datetime().nullable(),
  revokedAt: z.iso.datetime().nullable(),
})
export type OperatorCertificateView = z.infer<typeof OperatorCertificateView>

export const OperatorView = z.object({
  id: z.string(),
  name: z.string(),
  /** The first of `grants`, for those who have one only. */
  role: z.string(),
  grants: z.array(
    z.object({
      role: z.string(),
      permissions: z.array(z.enum(permissions)),
      /** The devices that are in all of these; none: the whole fleet. */
      groupIds: z.array(z.uuid()),
    }),
  ),
})
export type OperatorView = z.infer<typeof OperatorView>

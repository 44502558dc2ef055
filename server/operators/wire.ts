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
})

export const ApiKeyView = z.object({
  id: z.uuid(),
  name: z.string(),
  /** The first of `grants`, for those who have one only; empty for none. */
  role: z.string(),
  grants: z.array(GrantView),
  /** The first characters of the key. */
  prefix: z.string(),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().nullable(),
  lastUsedAt: z.iso.datetime().nullable(),
  revokedAt: z.iso.datetime().nullable(),
})
export type ApiKeyView = z.infer<typeof ApiKeyView>

/** The answer to the POST alone: `secret` is shown here and never again. */
export const NewApiKeyView = ApiKeyView.extend({ secret: z.string() })
export type NewApiKeyView = z.infer<typeof NewApiKeyView>

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

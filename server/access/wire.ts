import { z } from 'zod'

import { permissions } from '../protocol/permissions.ts'
import { accessLimits, principalPattern } from '../protocol/principal.ts'

/** The name of a role: one that is always there, or one of one's own. */
export const RoleName = z.string().regex(/^[a-z][a-z0-9-]{0,39}$/)
/** Narrows to the devices that are in all of these; none narrow nothing. */
export const ScopeGroups = z.array(z.uuid().lowercase()).max(accessLimits.groups)

export const RoleParams = z.object({ name: RoleName })
export const GrantParams = z.object({ principal: z.string().regex(principalPattern) })

const content = {
  description: z.string().max(1_000).default(''),
  permissions: z.array(z.enum(permissions)).min(1).max(permissions.length),
  groupIds: ScopeGroups.default([]),
}
export const NewRoleBody = z.strictObject({ name: RoleName, ...content })
export const RoleBody = z.strictObject(content)

export const RoleView = z.object({
  name: z.string(),
  description: z.string(),
  /** Always there, and always as it is. */
  builtIn: z.boolean(),
  permissions: z.array(z.enum(permissions)),
  groupIds: z.array(z.uuid()),
  /** How many have it. */
  holders: z.int(),
  createdBy: z.string().nullable(),
  createdAt: z.iso.datetime().nullable(),
  changedAt: z.iso.datetime().nullable(),
  /** For `If-Match`: another one after each change; null for a role that is always there. */
  version: z.int().nullable(),
})
export type RoleView = z.infer<typeof RoleView>

export const PermissionView = z.object({
  permission: z.enum(permissions),
  /** Whoever has one of these has it. */
  roles: z.array(z.string()),
})
export type PermissionView = z.infer<typeof PermissionView>

/** Filter of `GET /grants`. */
export const grantFilter = { role: RoleName.optional() }

const GivenGrant = z.strictObject({ role: RoleName, groupIds: ScopeGroups.default([]) })
export const GrantsBody = z.strictObject({ grants: z.array(GivenGrant).max(accessLimits.grants) })

export const GrantView = z.object({
  role: z.string(),
  groupIds: z.array(z.uuid()),
})
export const HolderView = z.object({
  /** As in the audit log: `key:ID`, `user:ID`, `workload:ID`. */
  principal: z.string(),
  name: z.string(),
  /** Neither revoked, ended nor disabled. */
  active: z.boolean(),
  grants: z.array(GrantView),
  /** Of the grants, for If-Match. */
  version: z.string(),
})
export type HolderView = z.infer<typeof HolderView>

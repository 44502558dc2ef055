/**
 * What somebody may be allowed to do, as `resource:action`. A closed list: a role names some of these, a route asks for one. `read` never changes
 * anything, so that a role of reads alone is safe to hand out.
 */
export const permissions = [
  'approvals:decide',
  'approvals:read',
  'alerts:handle',
  'alerts:manage',
  'alerts:read',
  'artifacts:read',
  'artifacts:write',
  'audit:manage',
  'audit:read',
  'authorities:manage',
  'authorities:read',
  'backups:create',
  'backups:read',
  'certificates:read',
  'certificates:revoke',
  'deployments:override',
  'deployments:read',
  'devices:credentials',
  'devices:disable',
  'devices:read',
  'devices:revoke',
  'devices:write',
  'enrollment:approve',
  'enrollment:read',
  'enrollment:write',
  'events:read',
  'groups:disable',
  'groups:read',
  'groups:write',
  'metadata:manage',
  'metadata:read',
  'metadata:sign',
  'models:read',
  'models:write',
  'operators:manage',
  'operators:read',
  'releases:publish',
  'releases:read',
  'releases:write',
  'rollouts:approve',
  'rollouts:control',
  'rollouts:read',
  'rollouts:write',
  // Who one is oneself, and what one signs in with: everybody's, whatever the role.
  'self:read',
  'self:write',
  'server:read',
  'settings:read',
  'settings:write',
  'transparency:read',
  'webhooks:manage',
  'webhooks:read',
  'windows:read',
  'windows:write',
] as const
export type Permission = (typeof permissions)[number]

export const builtInRoles = [
  'admin',
  'operator',
  'release-manager',
  'signer',
  'auditor',
  'viewer',
] as const
export type BuiltInRole = (typeof builtInRoles)[number]

/** What everybody who works with a fleet sees; who may do what, who did what, and where it is told to, is not among it. */
const usualReads = permissions.filter(
  (name) =>
    (name.endsWith(':read') && !['audit:read', 'operators:read', 'webhooks:read'].includes(name)) ||
    name === 'self:write',
)

/**
 * What the roles that are always there may do. Duties are kept apart: who runs the fleet publishes no software, who publishes it cannot
 * cut devices off, who signs does nothing else, and only an administrator says who may do what.
 */
export const permissionsOf: Readonly<Record<BuiltInRole, readonly Permission[]>> = {
  admin: permissions,
  operator: [
    ...usualReads,
    'approvals:decide',
    'alerts:handle',
    'audit:read',
    'certificates:revoke',
    'deployments:override',
    'devices:disable',
    'devices:revoke',
    'devices:write',
    'enrollment:approve',
    'enrollment:write',
    'groups:disable',
    'groups:write',
    'rollouts:approve',
    'rollouts:control',
    'rollouts:write',
    'settings:write',
    'webhooks:read',
    'windows:write',
  ],
  'release-manager': [
    ...usualReads,
    'approvals:decide',
    'artifacts:write',
    'models:write',
    'releases:publish',
    'releases:write',
    'rollouts:approve',
    'rollouts:control',
    'rollouts:write',
    'windows:write',
  ],
  signer: [
    'artifacts:read',
    'metadata:read',
    'metadata:sign',
    'models:read',
    'releases:read',
    'self:read',
    'self:write',
    'settings:read',
    'transparency:read',
  ],
  auditor: [...usualReads, 'audit:read', 'operators:read', 'webhooks:read'],
  viewer: usualReads,
}

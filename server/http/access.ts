import type { Request } from 'express'

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import type { Permission } from '../protocol/permissions.ts'
import type { Reach } from '../protocol/reach.ts'

/** Some permissions, for the devices that are members of all of `groups`; for the whole fleet when that is empty. */
export interface Grant {
  /** The role that it comes from. */
  role: string
  permissions: ReadonlySet<Permission>
  groups: readonly string[]
}

/** Who calls. `requestId` ties its audit rows to the log line of the request. */
export interface Actor {
  /** `key:<api key id>` and the like, as in audit rows. */
  id: string
  /** Who counts as one person where two have to agree: the owner of a key, or the key itself when it has none. */
  voice: string
  name: string
  grants: readonly Grant[]
  /** Of somebody who signed in: which session, and when its person last showed a second factor. Keys, workloads and certificates have none. */
  session?: { id: string; personId: string; provenAt: Date }
  requestId: string
}

/**
 * What a route covers. `fleet`: things that belong to no device in particular, or to all; who is limited to groups may not call it. `shared`: what
 * everybody may know who may call it at all, such as releases: it says nothing about any device. `devices`: the handler gets `reach`, and shows, counts
 * and changes nothing outside it.
 */
export type RouteScope = 'fleet' | 'shared' | 'devices'

/** One permission, or one for each value of the body's `action`. */
export type Needed = Permission | { readonly action: Readonly<Record<string, Permission>> }

/** Where a permission holds for an actor. Undefined: nowhere. */
export function reachOf(actor: Pick<Actor, 'grants'>, permission: Permission): Reach | undefined {
  // Nobody takes from somebody what is their own: without a second factor they could not do what else they may.
  if (permission.startsWith('self:')) return 'fleet'
  const grants = actor.grants.filter((grant) => grant.permissions.has(permission))
  if (grants.length === 0) return undefined
  if (grants.some(({ groups }) => groups.length === 0)) return 'fleet'
  return grants.map(({ groups }) => groups)
}

export function permissionsNeeded(needed: Needed): readonly Permission[] {
  return typeof needed === 'string' ? [needed] : [...new Set(Object.values(needed.action))]
}

/**
 * The caller, who has one of the permissions that a route may need.
 *
 * @throws DomainError `not-authenticated`, `not-allowed`
 */
export function allowedActor(req: Request, guard: Guard, { liftedForTest }: Lifted): Actor {
  const { permission, scope } = guard
  const actor = actorOf(req)
  if (liftedForTest?.check === 'permission' && liftedForTest.route === nameOf(guard)) return actor
  const needed = permissionsNeeded(permission)
  if (needed.every((name) => !reaches(actor, name, scope))) refuse(actor, needed[0], scope)
  return actor
}

export interface Guard {
  method: string
  path: string
  permission: Needed
  scope: RouteScope
}

type Lifted = Pick<Context, 'liftedForTest'>

/** `GET /devices/:deviceId`. */
export function nameOf({ method, path }: Pick<Guard, 'method' | 'path'>): string {
  return `${method.toUpperCase()} ${path}`
}

/**
 * Where the caller may do what the route does with this body.
 *
 * @throws DomainError `not-allowed`
 */
export function allowedReach(
  actor: Actor,
  guard: Guard,
  body: unknown,
  { liftedForTest }: Lifted,
): Reach {
  if (liftedForTest?.route === nameOf(guard)) return 'fleet'
  const { permission, scope } = guard
  const name = typeof permission === 'string' ? permission : permission.action[actionOf(body)]
  const reach = name === undefined ? undefined : reaches(actor, name, scope)
  return reach ?? refuse(actor, name, scope)
}

function reaches(actor: Actor, permission: Permission, scope: RouteScope): Reach | undefined {
  const reach = reachOf(actor, permission)
  return scope === 'fleet' && reach !== 'fleet' ? undefined : reach
}

function refuse(actor: Actor, permission: Permission | undefined, scope: RouteScope): never {
  const roles = actor.grants.map(({ role }) => role).join(', ')
  const isLimited = permission !== undefined && reachOf(actor, permission) !== undefined
  const why =
    isLimited && scope === 'fleet'
      ? 'Your permission is limited to groups, and this concerns the whole fleet'
      : `Your role (${roles || 'none'}) may not do this`
  throw new DomainError('not-allowed', `${why}: ask an administrator`, { needs: permission })
}

function actionOf(body: unknown): string {
  const action: unknown =
    typeof body === 'object' && body !== null && 'action' in body ? body.action : undefined
  return typeof action === 'string' ? action : ''
}

function actorOf(req: Request): Actor {
  const actor: unknown = req.res?.locals['actor']
  if (!actor)
    throw new DomainError('not-authenticated', 'Send an API key: Authorization: Bearer KEY')
  // Set by operators/authenticate.ts and by nothing else.
  return actor as Actor
}

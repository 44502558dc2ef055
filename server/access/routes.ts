import { z } from 'zod'

import { withRoleConsent } from '../approvals/consent.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { builtInRoles, permissions, permissionsOf } from '../protocol/permissions.ts'
import { changeGrants, getHolder, grantsVersion } from './grant-service.ts'
import { isBuiltIn } from './grants.ts'
import { changeRole, createRole, getRole, removeRole } from './role-service.ts'
import { type Holder, holdersOf, listHolders, listRoles, type Role } from './store.ts'
import {
  grantFilter,
  GrantParams,
  GrantsBody,
  HolderView,
  NewRoleBody,
  PermissionView,
  RoleBody,
  RoleParams,
  RoleView,
} from './wire.ts'

export const accessRoutes = [
  route({
    method: 'get',
    path: '/permissions',
    summary: 'What somebody can be allowed to do, and the roles that are',
    permission: 'operators:read',
    scope: 'fleet',
    response: Page(PermissionView),
    handle: async ({ ctx }) => {
      const own = await listRoles(ctx.db)
      const items = permissions.map((permission) => ({
        permission,
        roles: [
          ...builtInRoles.filter((name) => permissionsOf[name].includes(permission)),
          ...own.filter((role) => role.permissions.includes(permission)).map(({ name }) => name),
        ],
      }))
      return { items, nextCursor: null }
    },
  }),

  route({
    method: 'get',
    path: '/roles',
    summary: 'All roles: those that are always there, then those of your own',
    permission: 'operators:read',
    scope: 'fleet',
    response: Page(RoleView),
    handle: async ({ ctx }) => {
      const own = await listRoles(ctx.db)
      const holders = await holdersOf(ctx.db, [...builtInRoles, ...own.map(({ name }) => name)])
      const count = (name: string) => holders.get(name) ?? 0
      return {
        items: [
          ...builtInRoles.map((name) => roleView(name, count(name))),
          ...own.map((role) => roleView(role, count(role.name))),
        ],
        nextCursor: null,
      }
    },
  }),

  route({
    method: 'post',
    path: '/roles',
    summary: 'Make a role of your own; it can do nothing that you cannot',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
    refuses: ['approval-needed', 'quota-exhausted'],
    status: 201,
    creates: true,
    versioned: 'version',
    body: NewRoleBody,
    response: RoleView,
    handle: async ({ ctx, body, actor }) => {
      const role = await withRoleConsent(
        ctx,
        { subject: body.name, asked: body, by: actor },
        (consent) => createRole(ctx, { ...body, by: actor, consent }),
      )
      return roleView(role, 0)
    },
  }),

  route({
    method: 'get',
    path: '/roles/:name',
    summary: 'One role',
    permission: 'operators:read',
    scope: 'fleet',
    versioned: 'version',
    params: RoleParams,
    response: RoleView,
    handle: async ({ ctx, params: { name } }) => {
      const role = isBuiltIn(name) ? name : await getRole(ctx.db, name)
      return roleView(role, (await holdersOf(ctx.db, [name])).get(name) ?? 0)
    },
  }),

  route({
    method: 'put',
    path: '/roles/:name',
    summary: 'Change what a role of your own may do, for all who have it',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
    refuses: ['approval-needed', 'quota-exhausted'],
    versioned: 'version',
    params: RoleParams,
    body: RoleBody,
    response: RoleView,
    handle: async ({ ctx, params: { name }, body, actor, ifMatch }) => {
      const role = await withRoleConsent(
        ctx,
        { subject: name, asked: body, by: actor },
        (consent) => changeRole(ctx, { name, ...body, ifMatch, by: actor, consent }),
      )
      return roleView(role, (await holdersOf(ctx.db, [name])).get(name) ?? 0)
    },
  }),

  route({
    method: 'delete',
    path: '/roles/:name',
    summary: 'Remove a role that nobody has',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
    refuses: ['approval-needed', 'quota-exhausted'],
    status: 204,
    versioned: 'version',
    params: RoleParams,
    response: z.undefined(),
    handle: async ({ ctx, params: { name }, actor, ifMatch }) => {
      const asked = { remove: true }
      await withRoleConsent(ctx, { subject: name, asked, by: actor }, (consent) =>
        removeRole(ctx, { name, ifMatch, by: actor, consent }),
      )
      return undefined
    },
  }),

  route({
    method: 'get',
    path: '/grants',
    summary: 'Who has which roles, newest first',
    permission: 'operators:read',
    scope: 'fleet',
    query: z.strictObject({ ...PageQuery.shape, ...grantFilter }),
    response: Page(HolderView),
    handle: async ({ ctx, query: { cursor, limit, role } }) => {
      const page = { role, before: cursor, limit: limit + 1 }
      const rows = await listHolders(ctx.db, ctx.clock.now(), page)
      return pageOf(rows, limit, holderView, ({ id }) => id)
    },
  }),

  route({
    method: 'get',
    path: '/grants/:principal',
    summary: 'Which roles somebody has, and where',
    permission: 'operators:read',
    scope: 'fleet',
    versioned: 'version',
    params: GrantParams,
    response: HolderView,
    handle: async ({ ctx, params: { principal } }) =>
      holderView(await getHolder(ctx.db, principal, ctx.clock.now())),
  }),

  route({
    method: 'put',
    path: '/grants/:principal',
    summary:
      'Say which roles somebody has, and where, from the next request on; nobody gives what he has not',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
    refuses: ['approval-needed', 'quota-exhausted'],
    versioned: 'version',
    params: GrantParams,
    body: GrantsBody,
    response: HolderView,
    handle: async ({ ctx, params: { principal }, body: { grants }, actor, ifMatch }) =>
      holderView(
        await withRoleConsent(
          ctx,
          { subject: principal, asked: { grants }, by: actor },
          (consent) => changeGrants(ctx, { principal, grants, ifMatch, by: actor, consent }),
        ),
      ),
  }),
]

function roleView(role: Role | (typeof builtInRoles)[number], holders: number): RoleView {
  if (typeof role === 'string') {
    return {
      name: role,
      description: '',
      builtIn: true,
      permissions: [...permissionsOf[role]],
      groupIds: [],
      holders,
      createdBy: null,
      createdAt: null,
      changedAt: null,
      version: null,
    }
  }
  return {
    name: role.name,
    description: role.description,
    builtIn: false,
    permissions: permissions.filter((each) => role.permissions.includes(each)),
    groupIds: role.group_ids,
    holders,
    createdBy: role.created_by,
    createdAt: role.created_at.toISOString(),
    changedAt: role.changed_at.toISOString(),
    version: role.version,
  }
}

function holderView({ principal, name, active, grants }: Holder): HolderView {
  const given = grants.map(({ role, groups }) => ({ role, groupIds: groups }))
  return { principal, name, active, grants: given, version: grantsVersion(given) }
}

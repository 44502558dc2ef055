import { z } from 'zod'

import { withConsent } from '../approvals/consent.ts'
import { requireDevice } from '../devices/reach.ts'
import { DomainError } from '../errors.ts'
import type { Actor } from '../http/access.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { actOnGroup } from '../incidents/service.ts'
import { requireCovered } from './reach.ts'
import { changeGroup, createGroup, removeGroup, setMembership } from './service.ts'
import { getGroup, type Group, listGroups } from './store.ts'
import {
  ChangeGroupBody,
  GroupActionBody,
  groupFilter,
  GroupParams,
  GroupView,
  MemberParams,
  NewGroupBody,
} from './wire.ts'

const by = (actor: Actor) => ({ actor: actor.id, requestId: actor.requestId })

export const groupRoutes = [
  route({
    method: 'get',
    path: '/groups',
    summary: 'Groups, newest first',
    permission: 'groups:read',
    scope: 'devices',
    query: z.strictObject({ ...PageQuery.shape, ...groupFilter }),
    response: Page(GroupView),
    handle: async ({ ctx, reach, query: { cursor, limit, name } }) => {
      const rows = await listGroups(ctx.db, { reach, name, before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, view, (group) => group.id)
    },
  }),

  route({
    method: 'post',
    path: '/groups',
    summary: 'Make a group; with a query, one whose members the server keeps',
    permission: 'groups:write',
    scope: 'fleet',
    versioned: 'version',
    refuses: ['quota-exhausted'],
    status: 201,
    creates: true,
    body: NewGroupBody,
    response: GroupView,
    handle: async ({ ctx, body, actor, newId }) => {
      refuseUnavailable(body)
      const { name, description, query = null } = body
      return view(await createGroup(ctx, { id: newId, name, description, query, ...by(actor) }))
    },
  }),

  route({
    method: 'get',
    path: '/groups/:groupId',
    summary: 'One group',
    permission: 'groups:read',
    scope: 'devices',
    versioned: 'version',
    params: GroupParams,
    response: GroupView,
    handle: async ({ ctx, params, reach }) => view(await getGroup(ctx.db, params.groupId, reach)),
  }),

  route({
    method: 'patch',
    path: '/groups/:groupId',
    summary: 'Rename or describe a group, or change its query',
    permission: 'groups:write',
    scope: 'devices',
    refuses: ['quota-exhausted'],
    versioned: 'version',
    params: GroupParams,
    body: ChangeGroupBody,
    response: GroupView,
    handle: async ({ ctx, params, body, actor, reach, ifMatch }) => {
      requireCovered(params.groupId, reach)
      refuseUnavailable(body)
      if (body.query !== undefined && reach !== 'fleet') throw widens(params.groupId)
      const changes = {
        ...(body.name === undefined ? {} : { name: body.name }),
        ...(body.description === undefined ? {} : { description: body.description }),
        ...(body.query === undefined ? {} : { query: body.query }),
      }
      return view(await changeGroup(ctx, { id: params.groupId, changes, ifMatch, ...by(actor) }))
    },
  }),

  route({
    method: 'delete',
    path: '/groups/:groupId',
    summary: 'Remove a group that nothing uses',
    permission: 'groups:write',
    scope: 'devices',
    status: 204,
    versioned: 'version',
    params: GroupParams,
    response: z.undefined(),
    handle: async ({ ctx, params, actor, reach, ifMatch }) => {
      requireCovered(params.groupId, reach)
      await removeGroup(ctx, { id: params.groupId, ifMatch, ...by(actor) })
      return undefined
    },
  }),

  route({
    method: 'put',
    path: '/groups/:groupId/devices/:deviceId',
    summary: 'Put a device into a group',
    permission: 'groups:write',
    scope: 'devices',
    status: 204,
    params: MemberParams,
    response: z.undefined(),
    handle: async ({ ctx, params, actor, reach }) => {
      requireCovered(params.groupId, reach)
      await requireDevice(ctx.db, params.deviceId, reach)
      await setMembership(ctx, { ...params, member: true, ...by(actor) })
      return undefined
    },
  }),

  route({
    method: 'delete',
    path: '/groups/:groupId/devices/:deviceId',
    summary: 'Take a device out of a group',
    permission: 'groups:write',
    scope: 'devices',
    status: 204,
    params: MemberParams,
    response: z.undefined(),
    handle: async ({ ctx, params, actor, reach }) => {
      requireCovered(params.groupId, reach)
      await requireDevice(ctx.db, params.deviceId, reach)
      await setMembership(ctx, { ...params, member: false, ...by(actor) })
      return undefined
    },
  }),

  route({
    method: 'post',
    path: '/groups/:groupId/actions',
    summary: 'Cut off every device of a group, or let them back',
    permission: 'groups:disable',
    scope: 'devices',
    stepUp: ['disable'],
    refuses: ['approval-needed', 'illegal-transition', 'quota-exhausted'],
    status: 202,
    params: GroupParams,
    body: GroupActionBody,
    response: GroupView,
    handle: async ({ ctx, params, body, actor, reach }) => {
      requireCovered(params.groupId, reach)
      const { groupId } = params
      const intent = { kind: 'group-disable', subject: groupId, groupId, asked: body } as const
      await withConsent(ctx, { ...intent, by: actor }, (consent) =>
        actOnGroup(ctx, { groupId, ...body, by: actor, consent }),
      )
      return view(await getGroup(ctx.db, params.groupId, reach))
    },
  }),
]

/** Who may choose the members of a group by a query chooses which devices his own permission covers. */
function widens(groupId: string): DomainError {
  return new DomainError(
    'not-allowed',
    'Your permission is limited to groups, and a query could put any device into them: ask somebody who may do this for the whole fleet',
    { groupId },
  )
}

function refuseUnavailable(body: { policy?: unknown }): void {
  if (body.policy === undefined || body.policy === null) return
  throw new DomainError('invalid-request', 'policy is not available in this version', {
    issues: [{ at: 'policy', message: 'not available in this version' }],
  })
}

function view(group: Group): GroupView {
  const { incident_id: id, incident_reason: reason, incident_opened_at: openedAt } = group
  const open = id !== null && reason !== null && openedAt !== null
  return {
    id: group.id,
    name: group.name,
    description: group.description,
    deviceCount: Number(group.device_count ?? 0),
    query: group.query,
    evaluatedAt: group.evaluated_at?.toISOString() ?? null,
    incident: open ? { id, reason, openedAt: openedAt.toISOString() } : null,
    version: group.version,
    createdAt: group.created_at.toISOString(),
  }
}

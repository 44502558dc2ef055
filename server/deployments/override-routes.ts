import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { type Override, overridesOf, requireOverride } from './override-store.ts'
import { actOnOverride, askForOverride, isInForce } from './override.ts'
import { getDeployment } from './store.ts'
import {
  DeploymentParams,
  OverrideActionBody,
  OverrideBody,
  OverrideParams,
  OverrideView,
} from './wire.ts'

export const overrideRoutes = [
  route({
    method: 'post',
    path: '/deployments/:deploymentId/overrides',
    summary: "Ask to install a security update over the owner's word, on a managed device only",
    permission: 'deployments:override',
    scope: 'devices',
    status: 201,
    creates: true,
    params: DeploymentParams,
    body: OverrideBody,
    response: OverrideView,
    handle: async ({ ctx, reach, params, body, actor, newId }) => {
      if (reach !== 'fleet') await getDeployment(ctx.db, params.deploymentId, reach)
      const command = {
        id: newId,
        deploymentId: params.deploymentId,
        reason: body.reason,
        until: new Date(body.until),
        actor: actor.id,
        requestId: actor.requestId,
      }
      return view(await askForOverride(ctx, command), ctx.clock.now())
    },
  }),

  route({
    method: 'get',
    path: '/deployments/:deploymentId/overrides',
    summary: 'Who wanted to decide over the owner, and who approved it, newest first',
    permission: 'deployments:read',
    scope: 'devices',
    params: DeploymentParams,
    query: PageQuery,
    response: Page(OverrideView),
    handle: async ({ ctx, reach, params, query: { cursor, limit } }) => {
      const { id } = await getDeployment(ctx.db, params.deploymentId, reach)
      const now = ctx.clock.now()
      const rows = await overridesOf(ctx.db, id, { before: cursor, limit: limit + 1 })
      return pageOf(
        rows,
        limit,
        (row) => view(row, now),
        (row) => row.id,
      )
    },
  }),

  route({
    method: 'post',
    path: '/overrides/:overrideId/actions',
    summary: 'Approve an override (two others than its author must) or take it back',
    permission: 'deployments:override',
    scope: 'devices',
    refuses: ['illegal-transition'],
    params: OverrideParams,
    body: OverrideActionBody,
    response: OverrideView,
    handle: async ({ ctx, reach, params, body, actor }) => {
      await requireOverride(ctx.db, params.overrideId, reach)
      const by = { actor: actor.id, requestId: actor.requestId }
      const command = { overrideId: params.overrideId, action: body.action, ...by }
      return view(await actOnOverride(ctx, command), ctx.clock.now())
    },
  }),
]

function view(row: Override, now: Date): OverrideView {
  return {
    id: row.id,
    deploymentId: row.deployment_id,
    reason: row.reason,
    until: row.until.toISOString(),
    inForce: isInForce(row, now),
    createdBy: row.created_by,
    createdAt: row.created_at.toISOString(),
    approvedBy: row.approved_by,
    approvedAt: row.approved_at?.toISOString() ?? null,
    revokedBy: row.revoked_by,
    revokedAt: row.revoked_at?.toISOString() ?? null,
  }
}

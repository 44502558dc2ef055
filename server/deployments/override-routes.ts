import { overridePolicy } from '../approvals/needed.ts'
import type { Context } from '../context.ts'
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
        by: actor,
      }
      return await viewed(ctx, await askForOverride(ctx, command))
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
      const { needed } = await overridePolicy(ctx.db, now)
      const rows = await overridesOf(ctx.db, id, { before: cursor, limit: limit + 1 })
      return pageOf(
        rows,
        limit,
        (row) => view(row, { needed, now }),
        (row) => row.id,
      )
    },
  }),

  route({
    method: 'post',
    path: '/overrides/:overrideId/actions',
    summary:
      'Approve an override (two others than its author must, or as many as the policy says) or take it back',
    permission: 'deployments:override',
    scope: 'devices',
    refuses: ['illegal-transition'],
    params: OverrideParams,
    body: OverrideActionBody,
    response: OverrideView,
    handle: async ({ ctx, reach, params, body, actor }) => {
      await requireOverride(ctx.db, params.overrideId, reach)
      const command = { overrideId: params.overrideId, action: body.action, by: actor }
      return await viewed(ctx, await actOnOverride(ctx, command))
    },
  }),
]

async function viewed({ db, clock }: Pick<Context, 'db' | 'clock'>, row: Override) {
  const now = clock.now()
  return view(row, { needed: (await overridePolicy(db, now)).needed, now })
}

function view(row: Override, { needed, now }: { needed: number; now: Date }): OverrideView {
  return {
    id: row.id,
    deploymentId: row.deployment_id,
    reason: row.reason,
    until: row.until.toISOString(),
    inForce: isInForce(row, now),
    createdBy: row.created_by,
    createdAt: row.created_at.toISOString(),
    needed,
    approveUntil: row.approve_until?.toISOString() ?? null,
    approvedBy: row.approved_by,
    approvedAt: row.approved_at?.toISOString() ?? null,
    revokedBy: row.revoked_by,
    revokedAt: row.revoked_at?.toISOString() ?? null,
  }
}

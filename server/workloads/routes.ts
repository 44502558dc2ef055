import { z } from 'zod'

import { withRoleConsent } from '../approvals/consent.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { createWorkload, removeWorkload } from './service.ts'
import { getWorkload, listWorkloads, type Workload } from './store.ts'
import { NewWorkloadBody, WorkloadParams, WorkloadView } from './wire.ts'

export const workloadRoutes = [
  route({
    method: 'get',
    path: '/workloads',
    summary: 'Whose tokens may call instead of a stored secret, newest first, removed ones too',
    permission: 'operators:read',
    scope: 'fleet',
    query: PageQuery,
    response: Page(WorkloadView),
    handle: async ({ ctx, query: { cursor, limit } }) => {
      const rows = await listWorkloads(ctx.db, { before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, view, ({ id }) => id)
    },
  }),

  route({
    method: 'post',
    path: '/workloads',
    summary: 'Trust the tokens that an issuer gives to one of its projects, for one role',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
    status: 201,
    creates: true,
    refuses: ['approval-needed', 'quota-exhausted'],
    body: NewWorkloadBody,
    response: WorkloadView,
    handle: async ({ ctx, body, actor, newId }) => {
      const intent = { subject: `new pipeline ${body.name}`, asked: body, by: actor }
      const workload = await withRoleConsent(ctx, intent, (consent) =>
        createWorkload(ctx, { ...body, id: newId, by: actor, consent }),
      )
      return view(workload)
    },
  }),

  route({
    method: 'get',
    path: '/workloads/:workloadId',
    summary: 'One workload identity',
    permission: 'operators:read',
    scope: 'fleet',
    params: WorkloadParams,
    response: WorkloadView,
    handle: async ({ ctx, params: { workloadId } }) => view(await getWorkload(ctx.db, workloadId)),
  }),

  route({
    method: 'delete',
    path: '/workloads/:workloadId',
    summary: 'Trust these tokens no more',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
    status: 204,
    params: WorkloadParams,
    response: z.undefined(),
    handle: async ({ ctx, params: { workloadId }, actor }) => {
      await removeWorkload(ctx, { id: workloadId, by: actor })
      return undefined
    },
  }),
]

function view(workload: Workload): WorkloadView {
  return {
    id: workload.id,
    principal: `workload:${workload.id}`,
    name: workload.name,
    issuer: workload.issuer,
    audience: workload.audience,
    subject: workload.subject,
    // Written by createWorkload, which takes nothing but texts.
    claims: workload.claims as Record<string, string>,
    grants: workload.grants.map(({ role, groups }) => ({ role, groupIds: groups })),
    createdBy: workload.created_by,
    createdAt: workload.created_at.toISOString(),
    lastUsedAt: workload.last_used_at?.toISOString() ?? null,
    removedAt: workload.removed_at?.toISOString() ?? null,
  }
}

import { z } from 'zod'

import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { decide } from './decide.ts'
import { changePolicy, type KindPolicy, policies } from './policy.ts'
import { readableBy } from './rights.ts'
import { listPolicies, listRequests, type Request, voicesOf } from './store.ts'
import {
  ApprovalActionBody,
  approvalFilter,
  ApprovalParams,
  ApprovalView,
  PolicyBody,
  PolicyParams,
  PolicyView,
} from './wire.ts'

export const approvalRequestRoutes = [
  route({
    method: 'get',
    path: '/approvals',
    summary: 'What people want to do that takes others to agree, newest first',
    permission: 'approvals:read',
    scope: 'devices',
    query: z.strictObject({ ...PageQuery.shape, ...approvalFilter }),
    response: Page(ApprovalView),
    handle: async ({ ctx, actor, query: { cursor, limit, state } }) => {
      const reaches = readableBy(actor)
      const rows = await listRequests(ctx.db, { reaches, state, before: cursor, limit: limit + 1 })
      const view = await viewer(ctx.db, rows, ctx.clock.now())
      return pageOf(rows, limit, view, ({ id }) => id)
    },
  }),

  route({
    method: 'get',
    path: '/approvals/:approvalId',
    summary: 'One of them, with who agreed',
    permission: 'approvals:read',
    scope: 'devices',
    params: ApprovalParams,
    response: ApprovalView,
    handle: async ({ ctx, actor, params: { approvalId } }) => {
      const page = { reaches: readableBy(actor), only: approvalId, limit: 1 }
      const [row] = await listRequests(ctx.db, page)
      if (!row) throw new DomainError('not-found', 'No such request for approval', { approvalId })
      return (await viewer(ctx.db, [row], ctx.clock.now()))(row)
    },
  }),

  route({
    method: 'post',
    path: '/approvals/:approvalId/actions',
    summary: 'Agree, refuse, or take back what one asked for; who agrees may do the thing himself',
    permission: 'approvals:decide',
    scope: 'devices',
    stepUp: ['approve'],
    refuses: ['conflict'],
    params: ApprovalParams,
    body: ApprovalActionBody,
    response: ApprovalView,
    handle: async ({ ctx, actor, params, body: { action, reason } }) => {
      const row = await decide(ctx, { ...params, action, reason, by: actor })
      return (await viewer(ctx.db, [row], ctx.clock.now()))(row)
    },
  }),

  route({
    method: 'get',
    path: '/approval-policies',
    summary: 'How many others have to agree to what',
    permission: 'approvals:read',
    scope: 'shared',
    response: Page(PolicyView),
    handle: async ({ ctx }) => ({
      items: (await policies(ctx.db)).map(policyView),
      nextCursor: null,
    }),
  }),

  route({
    method: 'put',
    path: '/approval-policies/:kind',
    summary: 'Say how many others have to agree; that takes what a change of roles takes',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
    refuses: ['approval-needed', 'quota-exhausted'],
    params: PolicyParams,
    body: PolicyBody,
    response: PolicyView,
    handle: async ({ ctx, actor, params, body }) =>
      policyView(await changePolicy(ctx, { ...params, ...body, by: actor })),
  }),
]

async function viewer(db: Db, rows: readonly Request[], now: Date) {
  const voices = await voicesOf(
    db,
    rows.map(({ id }) => id),
  )
  const needed = new Map((await listPolicies(db)).map((policy) => [policy.kind, policy.needed]))
  return (row: Request): ApprovalView => ({
    id: row.id,
    kind: row.kind,
    subject: row.subject,
    groupId: row.group_id,
    // Written by consent.ts, which takes nothing but objects.
    asked: row.asked as Record<string, unknown>,
    author: row.author,
    state: row.state === 'open' && row.expires_at <= now ? 'expired' : row.state,
    needed: needed.get(row.kind) ?? 0,
    approvals: voices
      .filter(({ request_id: id }) => id === row.id)
      .map(({ actor, reason, at }) => ({ by: actor, reason, at: at.toISOString() })),
    hash: row.hash.toString('hex'),
    createdAt: row.created_at.toISOString(),
    expiresAt: row.expires_at.toISOString(),
    endedAt: row.ended_at?.toISOString() ?? null,
  })
}

function policyView({ changedAt, ...policy }: KindPolicy): PolicyView {
  return { ...policy, changedAt: changedAt?.toISOString() ?? null }
}

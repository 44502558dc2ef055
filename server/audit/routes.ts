import { z } from 'zod'

import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { noteBroken } from './broken.ts'
import { type AuditRow, listAudit } from './store.ts'
import { verifyChain } from './verify.ts'
import { auditFilter, AuditView, OriginView, VerifyQuery, VerifyView } from './wire.ts'

export const auditRoutes = [
  route({
    method: 'get',
    path: '/audit',
    summary: 'Who changed what and when, newest first',
    permission: 'audit:read',
    scope: 'fleet',
    query: z.strictObject({ ...PageQuery.shape, ...auditFilter }),
    response: Page(AuditView),
    handle: async ({ ctx, query }) => {
      const { cursor, limit, ...filter } = query
      const rows = await listAudit(ctx.db, { ...filter, before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, view, (row) => String(row.seq))
    },
  }),

  route({
    method: 'get',
    path: '/audit/verify',
    summary: 'Walk the hash chain and name the first place where it does not hold',
    permission: 'audit:read',
    scope: 'fleet',
    refuses: ['not-found', 'not-ready'],
    costly: true,
    query: VerifyQuery,
    response: VerifyView,
    handle: async ({ ctx, query }) => {
      const report = await verifyChain(ctx, query)
      await noteBroken(ctx, report.firstBreak)
      return { ...report, head: report.head.toString('hex') }
    },
  }),
]

function view(row: AuditRow): AuditView {
  return {
    seq: row.seq,
    at: row.at.toISOString(),
    actor: row.actor,
    action: row.action,
    subject: row.subject,
    // Written by recordAudit, which takes nothing but objects.
    facts: row.facts as Record<string, unknown>,
    requestId: row.request_id,
    origin: originView(row.origin),
    chainNo: row.chain_no,
    hash: row.hash?.toString('hex') ?? null,
  }
}

function originView(origin: unknown): AuditView['origin'] {
  const parsed = OriginView.safeParse(origin)
  return parsed.success ? parsed.data : null
}

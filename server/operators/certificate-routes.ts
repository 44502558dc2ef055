import { z } from 'zod'

import { withRoleConsent } from '../approvals/consent.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { registerCertificate, revokeCertificate } from './certificate-service.ts'
import { listCertificates, type OperatorCertificate } from './certificate-store.ts'
import { CertificateParams, NewOperatorCertificateBody, OperatorCertificateView } from './wire.ts'

export const operatorCertificateRoutes = [
  route({
    method: 'get',
    path: '/operator-certificates',
    summary: 'Certificates that open the interface, newest first, revoked ones too',
    permission: 'operators:read',
    scope: 'fleet',
    query: PageQuery,
    response: Page(OperatorCertificateView),
    handle: async ({ ctx, query: { cursor, limit } }) => {
      const rows = await listCertificates(ctx.db, { before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, view, ({ id }) => id)
    },
  }),

  route({
    method: 'post',
    path: '/operator-certificates',
    summary: 'Register a certificate: whoever holds its key may call, with one role',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
    status: 201,
    creates: true,
    refuses: ['approval-needed', 'not-found', 'quota-exhausted'],
    body: NewOperatorCertificateBody,
    response: OperatorCertificateView,
    handle: async ({ ctx, body, actor, newId }) => {
      const intent = { subject: `new certificate ${body.name}`, asked: body, by: actor }
      const certificate = await withRoleConsent(ctx, intent, (consent) =>
        registerCertificate(ctx, { ...body, id: newId, by: actor, consent }),
      )
      return view(certificate)
    },
  }),

  route({
    method: 'delete',
    path: '/operator-certificates/:certificateId',
    summary: 'Revoke a certificate, on connections that are open too',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
    status: 204,
    params: CertificateParams,
    response: z.undefined(),
    handle: async ({ ctx, params: { certificateId }, actor }) => {
      await revokeCertificate(ctx, { id: certificateId, by: actor })
      return undefined
    },
  }),
]

function view(row: OperatorCertificate): OperatorCertificateView {
  return {
    id: row.id,
    name: row.name,
    fingerprint: row.fingerprint.toString('hex'),
    grants: row.grants.map(({ role, groups }) => ({ role, groupIds: groups })),
    ownerId: row.owner_id,
    notBefore: row.not_before.toISOString(),
    notAfter: row.not_after.toISOString(),
    createdBy: row.created_by,
    createdAt: row.created_at.toISOString(),
    lastUsedAt: row.last_used_at?.toISOString() ?? null,
    revokedAt: row.revoked_at?.toISOString() ?? null,
  }
}

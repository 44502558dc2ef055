import { requireDevice } from '../devices/reach.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { requireCertificate } from './reach-store.ts'
import { changeRevocation } from './revocation.ts'
import { assertDevice, type CertificateRow, getCertificate, listOfDevice } from './store.ts'
import { CertificateActionBody, CertificateParams, CertificateView, DeviceParams } from './wire.ts'

export const certificateRoutes = [
  route({
    method: 'get',
    path: '/devices/:deviceId/certificates',
    summary: 'Certificates of a device, newest first',
    permission: 'certificates:read',
    scope: 'devices',
    params: DeviceParams,
    query: PageQuery,
    response: Page(CertificateView),
    handle: async ({ ctx, reach, params: { deviceId }, query: { cursor, limit } }) => {
      await requireDevice(ctx.db, deviceId, reach)
      await assertDevice(ctx.db, deviceId)
      const rows = await listOfDevice(ctx.db, deviceId, { before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, view, (certificate) => certificate.id)
    },
  }),

  route({
    method: 'get',
    path: '/certificates/:certificateId',
    summary: 'One certificate',
    permission: 'certificates:read',
    scope: 'devices',
    params: CertificateParams,
    response: CertificateView,
    handle: async ({ ctx, reach, params }) => {
      await requireCertificate(ctx.db, params.certificateId, reach)
      return view(await getCertificate(ctx.db, params.certificateId))
    },
  }),

  route({
    method: 'post',
    path: '/certificates/:certificateId/actions',
    summary: 'Revoke a certificate for good, hold or release it; on the CRL when this answers',
    permission: 'certificates:revoke',
    scope: 'devices',
    stepUp: ['revoke'],
    refuses: ['illegal-transition'],
    params: CertificateParams,
    body: CertificateActionBody,
    response: CertificateView,
    handle: async ({ ctx, reach, params: { certificateId }, body, actor }) => {
      await requireCertificate(ctx.db, certificateId, reach)
      return view(await changeRevocation(ctx, { ...body, certificateId, by: actor }))
    },
  }),
]

function view(row: CertificateRow): CertificateView {
  return {
    id: row.id,
    deviceId: row.device_id,
    authorityId: row.authority_id,
    state: row.state,
    serial: row.serial.toString('hex'),
    fingerprint: row.fingerprint,
    subject: row.subject,
    notBefore: row.not_before.toISOString(),
    notAfter: row.not_after.toISOString(),
    revokedAt: row.revoked_at?.toISOString() ?? null,
    revocationReason: row.revocation_reason,
    createdAt: row.created_at.toISOString(),
  }
}

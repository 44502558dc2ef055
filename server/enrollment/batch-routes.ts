import { toPem } from '../../pki/pem.ts'
import { DomainError } from '../errors.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { type Batch, type BatchResult, getBatch, listBatches, listResults } from './batch-store.ts'
import { batchTypes, createBatch, maxBatchBytes } from './batch.ts'
import { uploadBody, uploadType } from './csv-body.ts'
import { requireProfile } from './reach.ts'
import { BatchParams, BatchRowView, BatchView, ProfileParams } from './wire.ts'

export const batchRoutes = [
  route({
    method: 'post',
    path: '/enrollment-profiles/:profileId/batches',
    summary: 'Issue certificates for a CSV file (column csr) or a ZIP of requests, as a job',
    permission: 'enrollment:write',
    scope: 'devices',
    refuses: ['not-ready', 'quota-exhausted', 'too-large', 'unsupported-media-type'],
    costly: true,
    status: 201,
    creates: true,
    upload: batchTypes,
    params: ProfileParams,
    response: BatchView,
    handle: async ({ ctx, reach, params: { profileId }, actor, newId, req }) => {
      await requireProfile(ctx.db, profileId, reach)
      const batch = await createBatch(ctx, {
        id: newId,
        profileId,
        type: uploadType(req, batchTypes),
        chunks: uploadBody(req, maxBatchBytes),
        reach,
        actor: actor.id,
        requestId: actor.requestId,
      })
      return view(batch)
    },
  }),

  route({
    method: 'get',
    path: '/enrollment-batches',
    summary: 'Files of requests and how far they are, newest first',
    permission: 'enrollment:read',
    scope: 'devices',
    query: PageQuery,
    response: Page(BatchView),
    handle: async ({ ctx, reach, query: { cursor, limit } }) => {
      const rows = await listBatches(ctx.db, { reach, before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, view, (batch) => batch.id)
    },
  }),

  route({
    method: 'get',
    path: '/enrollment-batches/:batchId',
    summary: 'How far a file of requests is',
    permission: 'enrollment:read',
    scope: 'devices',
    params: BatchParams,
    response: BatchView,
    handle: async ({ ctx, reach, params }) => view(await getBatch(ctx.db, params.batchId, reach)),
  }),

  route({
    method: 'get',
    path: '/enrollment-batches/:batchId/rows',
    summary: 'What came of each row, in the order of the file, with its certificate',
    permission: 'enrollment:read',
    scope: 'devices',
    params: BatchParams,
    query: PageQuery,
    response: Page(BatchRowView),
    handle: async ({ ctx, reach, params: { batchId }, query: { cursor = '0', limit } }) => {
      await getBatch(ctx.db, batchId, reach)
      if (!/^\d{1,9}$/.test(cursor)) {
        throw new DomainError('invalid-request', 'The cursor is not one of this list')
      }
      const page = { after: Number(cursor), limit: limit + 1 }
      const rows = await listResults(ctx.db, batchId, { reach, ...page })
      return pageOf(rows, limit, rowView, (row) => String(row.row_number))
    },
  }),
]

function view(batch: Batch): BatchView {
  return {
    id: batch.id,
    profileId: batch.profile_id,
    state: batch.state,
    total: batch.total,
    issued: batch.issued,
    failed: batch.failed,
    createdBy: batch.created_by,
    createdAt: batch.created_at.toISOString(),
    finishedAt: batch.finished_at?.toISOString() ?? null,
  }
}

function rowView(row: BatchResult): BatchRowView {
  return {
    row: row.row_number,
    state: row.state,
    message: row.message,
    serialNumber: row.serial_number,
    fingerprint: row.fingerprint,
    certificate: row.der && toPem('CERTIFICATE', row.der),
  }
}

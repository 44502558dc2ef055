import { DomainError } from '../errors.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { type Form, formsOf, imageOf } from './store.ts'
import { DeliveryFormView, ReleaseDeliveryParams } from './wire.ts'

export const deltaRoutes = [
  route({
    method: 'get',
    path: '/releases/:releaseId/delivery',
    summary:
      'Shorter ways to the image of a release, newest first: deltas from what devices run, and zstd',
    permission: 'releases:read',
    scope: 'shared',
    params: ReleaseDeliveryParams,
    query: PageQuery,
    response: Page(DeliveryFormView),
    handle: async ({ ctx, params, query }) => {
      const sha256 = await imageOf(ctx.db, params.releaseId)
      if (sha256 === undefined) {
        throw new DomainError('not-found', 'No such release', { releaseId: params.releaseId })
      }
      const forms = await formsOf(ctx.db, sha256, { before: query.cursor, limit: query.limit + 1 })
      return pageOf(forms, query.limit, view, (form) => form.id)
    },
  }),
]

function view(form: Form): DeliveryFormView {
  return {
    method: form.method,
    base: form.base_sha256,
    state: form.state,
    reason: form.reason,
    sha256: form.sha256,
    length: form.length,
    blockBytes: form.block_bytes,
    cpuMs: form.cpu_ms,
    changedAt: form.changed_at.toISOString(),
  }
}

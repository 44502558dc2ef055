import { z } from 'zod'

import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { getRequest, listRequests, type WaitingRequest } from './approval-store.ts'
import { decideRequest } from './approval.ts'
import { RequestActionBody, requestFilter, RequestParams, RequestView } from './wire.ts'

export const approvalRoutes = [
  route({
    method: 'get',
    path: '/enrollment-requests',
    summary: 'Requests that wait, or waited, to be approved; newest first',
    permission: 'enrollment:read',
    scope: 'devices',
    query: z.strictObject({ ...PageQuery.shape, ...requestFilter }),
    response: Page(RequestView),
    handle: async ({ ctx, reach, query: { cursor, limit, profileId, state } }) => {
      const rows = await listRequests(ctx.db, {
        reach,
        profileId,
        state,
        before: cursor,
        limit: limit + 1,
      })
      return pageOf(rows, limit, view, (request) => request.id)
    },
  }),

  route({
    method: 'get',
    path: '/enrollment-requests/:requestId',
    summary: 'One enrollment request',
    permission: 'enrollment:read',
    scope: 'devices',
    params: RequestParams,
    response: RequestView,
    handle: async ({ ctx, reach, params }) =>
      view(await getRequest(ctx.db, params.requestId, reach)),
  }),

  route({
    method: 'post',
    path: '/enrollment-requests/:requestId/actions',
    summary: 'Approve or deny a request; the device gets its certificate when it asks again',
    permission: 'enrollment:approve',
    scope: 'devices',
    refuses: ['illegal-transition', 'not-ready'],
    params: RequestParams,
    body: RequestActionBody,
    response: RequestView,
    handle: async ({ ctx, reach, params: { requestId: id }, body, actor }) => {
      if (reach !== 'fleet') await getRequest(ctx.db, id, reach)
      const { action, reason } = body
      return view(await decideRequest(ctx, { id, action, reason, by: actor }))
    },
  }),
]

function view(request: WaitingRequest): RequestView {
  return {
    id: request.id,
    profileId: request.profile_id,
    tokenId: request.token_id,
    serialNumber: request.serial_number,
    keyAlgorithm: request.key_algorithm,
    keySha256: request.spki_sha256.toString('hex'),
    state: request.state,
    decidedBy: request.decided_by,
    decidedAt: request.decided_at?.toISOString() ?? null,
    reason: request.reason,
    createdAt: request.created_at.toISOString(),
    lastSeenAt: request.last_seen_at.toISOString(),
  }
}

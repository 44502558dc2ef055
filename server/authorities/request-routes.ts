import { z } from 'zod'

import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { getRequest, pageOfRequests, type RequestRow } from './request-store.ts'
import { answerRequest, createRequest, endRequest } from './requests.ts'
import { importRoot } from './roots.ts'
import { view as authorityView } from './routes.ts'
import {
  AnswerBody,
  AuthorityRequestView,
  AuthorityView,
  NewRequestBody,
  RequestParams,
  RootFileBody,
} from './wire.ts'

/** For a root whose key is elsewhere. */
export const authorityRequestRoutes = [
  route({
    method: 'post',
    path: '/authorities/roots',
    summary:
      'Take a root whose key stays elsewhere, with the certificates that connect it to the active one',
    permission: 'authorities:manage',
    scope: 'fleet',
    status: 201,
    creates: true,
    body: RootFileBody,
    response: AuthorityView,
    handle: async ({ ctx, body, actor, newId }) =>
      authorityView(
        await importRoot(ctx, {
          id: newId,
          file: body.file,
          actor: actor.id,
          requestId: actor.requestId,
        }),
      ),
  }),

  route({
    method: 'get',
    path: '/authority-requests',
    summary: 'Requests to the root that wait for an answer, newest first',
    permission: 'authorities:read',
    scope: 'shared',
    query: PageQuery,
    response: Page(AuthorityRequestView),
    handle: async ({ ctx, query: { cursor, limit } }) => {
      const rows = await pageOfRequests(ctx.db, { before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, view, (row) => row.id)
    },
  }),

  route({
    method: 'post',
    path: '/authority-requests',
    summary: 'Make the key of an authority and the file that asks the root to certify it',
    permission: 'authorities:manage',
    scope: 'fleet',
    refuses: ['not-ready', 'quota-exhausted'],
    status: 201,
    creates: true,
    body: NewRequestBody,
    response: AuthorityRequestView,
    handle: async ({ ctx, body, actor, newId }) =>
      view(
        await createRequest(ctx, {
          id: newId,
          ...body,
          actor: actor.id,
          requestId: actor.requestId,
        }),
      ),
  }),

  route({
    method: 'get',
    path: '/authority-requests/:requestId',
    summary: 'One request to the root',
    permission: 'authorities:read',
    scope: 'shared',
    params: RequestParams,
    response: AuthorityRequestView,
    handle: async ({ ctx, params }) => view(await getRequest(ctx.db, params.requestId)),
  }),

  route({
    method: 'post',
    path: '/authority-requests/:requestId/answer',
    summary: "Give the root's answer to a request: the authority is there from then on",
    permission: 'authorities:manage',
    scope: 'fleet',
    refuses: ['not-ready'],
    params: RequestParams,
    body: AnswerBody,
    response: AuthorityView,
    handle: async ({ ctx, params, body, actor }) =>
      authorityView(
        await answerRequest(ctx, {
          id: params.requestId,
          answer: body.answer,
          actor: actor.id,
          requestId: actor.requestId,
        }),
      ),
  }),

  route({
    method: 'delete',
    path: '/authority-requests/:requestId',
    summary: 'Give up a request to the root, with its key',
    permission: 'authorities:manage',
    scope: 'fleet',
    status: 204,
    params: RequestParams,
    response: z.undefined(),
    handle: async ({ ctx, params, actor }) => {
      await endRequest(ctx, {
        id: params.requestId,
        actor: actor.id,
        requestId: actor.requestId,
      })
      return undefined
    },
  }),
]

function view(row: RequestRow): AuthorityRequestView {
  return {
    id: row.id,
    purpose: row.purpose,
    name: row.name,
    series: row.series,
    keyUri: row.key_uri,
    rootId: row.root_id,
    request: row.request,
    createdAt: row.created_at.toISOString(),
  }
}

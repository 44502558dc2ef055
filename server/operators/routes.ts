import { z } from 'zod'

import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { createApiKey, revokeApiKey } from './service.ts'
import { type ApiKey, listApiKeys } from './store.ts'
import { ApiKeyParams, ApiKeyView, NewApiKeyBody, NewApiKeyView, OperatorView } from './wire.ts'

export const operatorRoutes = [
  route({
    method: 'get',
    path: '/operators/me',
    summary: 'Who the API key of this request belongs to',
    permission: 'self:read',
    scope: 'shared',
    response: OperatorView,
    handle: async ({ actor: { id, name, grants } }) => ({
      id,
      name,
      role: grants[0]?.role ?? '',
      grants: grants.map((grant) => ({
        role: grant.role,
        permissions: [...grant.permissions],
        groupIds: [...grant.groups],
      })),
    }),
  }),

  route({
    method: 'post',
    path: '/api-keys',
    summary: 'Make an API key; its secret is in this answer and nowhere else',
    permission: 'operators:manage',
    scope: 'fleet',
    status: 201,
    creates: true,
    body: NewApiKeyBody,
    response: NewApiKeyView,
    handle: async ({ ctx, body, actor, newId }) => {
      const { expiresAt, ...rest } = body
      const { key, secret } = await createApiKey(ctx, {
        ...rest,
        id: newId,
        expiresAt: expiresAt === undefined ? undefined : new Date(expiresAt),
        by: actor,
      })
      return { ...view(key), secret }
    },
  }),

  route({
    method: 'get',
    path: '/api-keys',
    summary: 'API keys, newest first, revoked ones too',
    permission: 'operators:read',
    scope: 'fleet',
    query: PageQuery,
    response: Page(ApiKeyView),
    handle: async ({ ctx, query }) =>
      pageOf(
        await listApiKeys(ctx.db, { before: query.cursor, limit: query.limit + 1 }),
        query.limit,
        view,
        (key) => key.id,
      ),
  }),

  route({
    method: 'delete',
    path: '/api-keys/:keyId',
    summary: 'Revoke an API key; the last valid admin key is refused',
    permission: 'operators:manage',
    scope: 'fleet',
    status: 204,
    params: ApiKeyParams,
    response: z.undefined(),
    handle: async ({ ctx, params, actor }) => {
      await revokeApiKey(ctx, { id: params.keyId, actor: actor.id, requestId: actor.requestId })
      return undefined
    },
  }),
]

function view(key: ApiKey): ApiKeyView {
  return {
    id: key.id,
    name: key.name,
    role: key.grants[0]?.role ?? '',
    grants: key.grants.map(({ role, groups }) => ({ role, groupIds: groups })),
    prefix: key.prefix,
    createdBy: key.created_by,
    createdAt: key.created_at.toISOString(),
    expiresAt: key.expires_at?.toISOString() ?? null,
    lastUsedAt: key.last_used_at?.toISOString() ?? null,
    revokedAt: key.revoked_at?.toISOString() ?? null,
  }
}

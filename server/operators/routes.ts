import { z } from 'zod'

import { withRoleConsent } from '../approvals/consent.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { rotateApiKey } from './rotate.ts'
import { createApiKey, revokeApiKey } from './service.ts'
import { type ApiKey, listApiKeys } from './store.ts'
import {
  ApiKeyParams,
  ApiKeyView,
  NewApiKeyBody,
  NewApiKeyView,
  OperatorView,
  RotateApiKeyBody,
} from './wire.ts'

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
    stepUp: true,
    status: 201,
    creates: true,
    refuses: ['approval-needed', 'not-found', 'quota-exhausted'],
    body: NewApiKeyBody,
    response: NewApiKeyView,
    handle: async ({ ctx, body, actor, newId }) => {
      const { expiresAt, ...rest } = body
      const command = {
        ...rest,
        id: newId,
        expiresAt: expiresAt === undefined ? undefined : new Date(expiresAt),
        by: actor,
      }
      const intent = { subject: `new key ${body.name}`, asked: body, by: actor }
      const { key, secret } = await withRoleConsent(ctx, intent, (consent) =>
        createApiKey(ctx, { ...command, consent }),
      )
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
    method: 'post',
    path: '/api-keys/:keyId/rotation',
    summary: 'Make the secret of an API key anew; the present one works on for a while',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
    status: 201,
    creates: true,
    params: ApiKeyParams,
    body: RotateApiKeyBody,
    response: NewApiKeyView,
    handle: async ({ ctx, params, body: { overlapHours }, actor, newId }) => {
      const command = { id: params.keyId, rotationId: newId, overlapHours, by: actor }
      const { key, secret } = await rotateApiKey(ctx, command)
      return { ...view(key), secret }
    },
  }),

  route({
    method: 'delete',
    path: '/api-keys/:keyId',
    summary: 'Revoke an API key; the last valid admin key is refused',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
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
    ownerId: key.owner_id,
    createdBy: key.created_by,
    createdAt: key.created_at.toISOString(),
    rotatedAt: key.rotated_at?.toISOString() ?? null,
    overlapEndsAt: key.overlap_ends_at?.toISOString() ?? null,
    expiresAt: key.expires_at?.toISOString() ?? null,
    lastUsedAt: key.last_used_at?.toISOString() ?? null,
    revokedAt: key.revoked_at?.toISOString() ?? null,
  }
}

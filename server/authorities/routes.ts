import { readPublicKey } from '../../pki/keys.ts'
import { toPem } from '../../pki/pem.ts'
import { fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { actOnAuthority, createAuthority } from './service.ts'
import { type AuthorityRow, getAuthority, pageOfAuthorities } from './store.ts'
import { AuthorityActionBody, AuthorityParams, AuthorityView, NewAuthorityBody } from './wire.ts'

export const authorityRoutes = [
  route({
    method: 'get',
    path: '/authorities',
    summary: 'Certificate authorities, newest first, retired ones too',
    permission: 'authorities:read',
    scope: 'shared',
    query: PageQuery,
    response: Page(AuthorityView),
    handle: async ({ ctx, query: { cursor, limit } }) => {
      const rows = await pageOfAuthorities(ctx.db, { before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, view, (row) => row.id)
    },
  }),

  route({
    method: 'get',
    path: '/authorities/:authorityId',
    summary: 'One certificate authority',
    permission: 'authorities:read',
    scope: 'shared',
    params: AuthorityParams,
    response: AuthorityView,
    handle: async ({ ctx, params }) => view(await getAuthority(ctx.db, params.authorityId)),
  }),

  route({
    method: 'post',
    path: '/authorities',
    summary:
      'Make an authority that is to take over: accepted at once, issuing when it is activated',
    permission: 'authorities:manage',
    scope: 'fleet',
    refuses: ['not-ready', 'quota-exhausted'],
    status: 201,
    creates: true,
    body: NewAuthorityBody,
    response: AuthorityView,
    handle: async ({ ctx, body, actor, newId }) =>
      view(
        await createAuthority(ctx, {
          id: newId,
          ...body,
          actor: actor.id,
          requestId: actor.requestId,
        }),
      ),
  }),

  route({
    method: 'post',
    path: '/authorities/:authorityId/actions',
    summary: 'Let an authority issue from now on, retire it, or destroy the key of a retired one',
    permission: 'authorities:manage',
    scope: 'fleet',
    stepUp: true,
    refuses: ['illegal-transition', 'not-ready'],
    params: AuthorityParams,
    body: AuthorityActionBody,
    response: AuthorityView,
    handle: async ({ ctx, params, body, actor }) =>
      view(
        await actOnAuthority(ctx, {
          id: params.authorityId,
          action: body.action,
          actor: actor.id,
          requestId: actor.requestId,
        }),
      ),
  }),
]

export function view(row: AuthorityRow): AuthorityView {
  const { notBefore, notAfter, spki } = parseCertificate(row.certificate)
  return {
    id: row.id,
    purpose: row.purpose,
    name: row.name,
    state: row.state,
    issuerId: row.issuer_id,
    series: row.series,
    algorithm: readPublicKey(spki).algorithm,
    hasKey: (row.wrapped_key ?? row.key_uri) !== null,
    keyUri: row.key_uri,
    keyDestroyedAt: row.key_destroyed_at?.toISOString() ?? null,
    revokedAt: row.revoked_at?.toISOString() ?? null,
    fingerprint: fingerprint(row.certificate),
    notBefore: notBefore.toISOString(),
    notAfter: notAfter.toISOString(),
    certificate: toPem('CERTIFICATE', row.certificate),
    createdAt: row.created_at.toISOString(),
    changedAt: row.changed_at.toISOString(),
  }
}

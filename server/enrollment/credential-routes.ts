import { fingerprint } from '../../pki/x509/parse.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { issueClaim } from './claim-issue.ts'
import { registerClaim } from './claims.ts'
import { requireProfile } from './reach.ts'
import { getProfile, listTokens, type Token } from './store.ts'
import { CredentialView, NewClaimBody, NewClaimView, ProfileParams } from './wire.ts'

export const credentialRoutes = [
  route({
    method: 'get',
    path: '/enrollment-profiles/:profileId/credentials',
    summary: 'Certificates that opened, or open, a profile, and how often; newest first',
    permission: 'enrollment:read',
    scope: 'devices',
    params: ProfileParams,
    query: PageQuery,
    response: Page(CredentialView),
    handle: async ({ ctx, reach, params: { profileId }, query: { cursor, limit } }) => {
      await requireProfile(ctx.db, profileId, reach)
      await getProfile(ctx.db, profileId)
      const which = { profileId, kinds: ['claim', 'manufacturer', 'batch'] as const }
      const rows = await listTokens(ctx.db, which, { before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, view, (token) => token.id)
    },
  }),

  route({
    method: 'post',
    path: '/enrollment-profiles/:profileId/claims',
    summary:
      'Register a claim certificate, or have one issued: its holder may enroll so many devices',
    permission: 'enrollment:write',
    scope: 'devices',
    refuses: ['not-ready', 'quota-exhausted'],
    status: 201,
    creates: true,
    params: ProfileParams,
    body: NewClaimBody,
    example: {
      csr: '-----BEGIN CERTIFICATE REQUEST-----\n…\n-----END CERTIFICATE REQUEST-----\n',
      days: 7,
      maxUses: 500,
    },
    response: NewClaimView,
    handle: async ({ ctx, reach, params, body, actor, newId }) => {
      await requireProfile(ctx.db, params.profileId, reach)
      const { certificate, csr, days, maxUses, expiresAt } = body
      const by = { actor: actor.id, requestId: actor.requestId }
      const common = { id: newId, ...params, maxUses, reach, ...by }
      if (csr !== undefined) {
        const { claim, pem } = await issueClaim(ctx, { ...common, csr, days })
        return { ...view(claim), certificate: pem }
      }
      const given = { ...common, certificate: certificate ?? '', expiresAt }
      return { ...view(await registerClaim(ctx, given)), certificate: null }
    },
  }),
]

function view(token: Token): CredentialView {
  return {
    id: token.id,
    kind: token.kind,
    fingerprint: token.certificate && fingerprint(token.certificate),
    serialNumber: token.identity,
    maxUses: token.max_uses,
    uses: token.uses,
    expiresAt: token.expires_at?.toISOString() ?? null,
    createdBy: token.created_by,
    createdAt: token.created_at.toISOString(),
  }
}

import { z } from 'zod'

import { requireCovered } from '../groups/reach.ts'
import type { Actor } from '../http/access.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { describeAnchor } from './anchors.ts'
import { requireProfile } from './reach.ts'
import { actOnProfile, createProfile, createToken, endToken } from './service.ts'
import { getProfile, listProfiles, listTokens, type Profile, type Token } from './store.ts'
import { webhookSecret } from './webhook.ts'
import {
  NewProfileBody,
  NewProfileView,
  NewTokenBody,
  NewTokenView,
  ProfileActionBody,
  ProfileParams,
  ProfileView,
  TokenParams,
  TokenView,
} from './wire.ts'

const by = (actor: Actor) => ({ actor: actor.id, requestId: actor.requestId })

export const enrollmentRoutes = [
  route({
    method: 'get',
    path: '/enrollment-profiles',
    summary: 'Enrollment profiles, newest first',
    permission: 'enrollment:read',
    scope: 'devices',
    query: PageQuery,
    response: Page(ProfileView),
    handle: async ({ ctx, reach, query: { cursor, limit } }) => {
      const rows = await listProfiles(ctx.db, { reach, before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, view, (profile) => profile.id)
    },
  }),

  route({
    method: 'post',
    path: '/enrollment-profiles',
    summary: 'Make an enrollment profile: who may enroll, how, and into which group',
    permission: 'enrollment:write',
    scope: 'devices',
    refuses: ['not-found', 'not-ready'],
    status: 201,
    creates: true,
    versioned: 'version',
    body: NewProfileBody,
    response: NewProfileView,
    handle: async ({ ctx, reach, body, actor, newId }) => {
      requireCovered(body.groupId, reach)
      // Said now, and not to each device.
      if (body.issuerSeries !== undefined) ctx.authorities.deviceIssuer(body.issuerSeries)
      const profile = await createProfile(ctx, { id: newId, body, reach, ...by(actor) })
      return { ...view(profile), webhookSecret: webhookSecret(ctx.kek, profile) }
    },
  }),

  route({
    method: 'get',
    path: '/enrollment-profiles/:profileId',
    summary: 'One enrollment profile',
    permission: 'enrollment:read',
    scope: 'devices',
    versioned: 'version',
    params: ProfileParams,
    response: ProfileView,
    handle: async ({ ctx, reach, params }) => {
      await requireProfile(ctx.db, params.profileId, reach)
      return view(await getProfile(ctx.db, params.profileId))
    },
  }),

  route({
    method: 'post',
    path: '/enrollment-profiles/:profileId/actions',
    summary: 'Pause a profile, so that nobody enrolls, or resume it',
    permission: 'enrollment:write',
    scope: 'devices',
    refuses: ['illegal-transition'],
    params: ProfileParams,
    body: ProfileActionBody,
    response: ProfileView,
    handle: async ({ ctx, reach, params, body, actor }) => {
      await requireProfile(ctx.db, params.profileId, reach)
      return view(await actOnProfile(ctx, { ...params, ...body, ...by(actor) }))
    },
  }),

  route({
    method: 'get',
    path: '/enrollment-profiles/:profileId/tokens',
    summary: 'Tokens of a profile, without their secrets, newest first',
    permission: 'enrollment:read',
    scope: 'devices',
    params: ProfileParams,
    query: PageQuery,
    response: Page(TokenView),
    handle: async ({ ctx, reach, params: { profileId }, query: { cursor, limit } }) => {
      await requireProfile(ctx.db, profileId, reach)
      await getProfile(ctx.db, profileId)
      const which = { profileId, kinds: ['token'] as const }
      const rows = await listTokens(ctx.db, which, { before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, tokenView, (token) => token.id)
    },
  }),

  route({
    method: 'post',
    path: '/enrollment-profiles/:profileId/tokens',
    summary: 'Make an enrollment token; its secret is shown once',
    permission: 'enrollment:write',
    scope: 'devices',
    refuses: ['quota-exhausted'],
    status: 201,
    creates: true,
    params: ProfileParams,
    body: NewTokenBody,
    response: NewTokenView,
    handle: async ({ ctx, reach, params: { profileId }, body, actor, newId }) => {
      await requireProfile(ctx.db, profileId, reach)
      const { maxUses, expiresAt } = body
      const made = await createToken(ctx, {
        id: newId,
        profileId,
        maxUses,
        expiresAt,
        reach,
        ...by(actor),
      })
      return { ...tokenView(made.row), token: made.token }
    },
  }),

  route({
    method: 'delete',
    path: '/enrollment-profiles/:profileId/tokens/:tokenId',
    summary: 'End a token; certificates issued with it stay',
    permission: 'enrollment:write',
    scope: 'devices',
    status: 204,
    params: TokenParams,
    response: z.undefined(),
    handle: async ({ ctx, reach, params, actor }) => {
      await requireProfile(ctx.db, params.profileId, reach)
      await endToken(ctx, { ...params, ...by(actor) })
      return undefined
    },
  }),
]

export function view(profile: Profile): ProfileView {
  return {
    id: profile.id,
    name: profile.name,
    groupId: profile.group_id,
    auth: {
      type: profile.auth_type,
      trustAnchors: profile.trust_anchors.map(describeAnchor),
    },
    registration: profile.registration,
    idPattern: profile.id_pattern,
    quota: profile.quota,
    used: profile.used,
    quotaPerHour: profile.quota_per_hour,
    sourceNetworks: profile.source_networks,
    pausedAt: profile.paused_at?.toISOString() ?? null,
    validFrom: profile.valid_from?.toISOString() ?? null,
    validUntil: profile.valid_until?.toISOString() ?? null,
    approval: profile.approval,
    replaceable: profile.replaceable,
    webhook: profile.webhook_url === null ? null : { url: profile.webhook_url },
    keyPolicy: profile.key_policy,
    certificateDays: profile.certificate_days,
    managed: profile.managed,
    issuerSeries: profile.issuer_series,
    createdAt: profile.created_at.toISOString(),
    version: profile.version,
  }
}

function tokenView(token: Token): TokenView {
  return {
    id: token.id,
    maxUses: token.max_uses,
    uses: token.uses,
    expiresAt: token.expires_at?.toISOString() ?? null,
    createdBy: token.created_by,
    createdAt: token.created_at.toISOString(),
  }
}

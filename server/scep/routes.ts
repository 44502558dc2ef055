import { isIPv6 } from 'node:net'

import { z } from 'zod'

import type { Config } from '../config.ts'
import {
  createChallenge,
  getProfileById,
  listChallenges,
  type Profile,
  type Token,
} from '../enrollment/challenge.ts'
import { requireProfile } from '../enrollment/reach.ts'
import { endToken } from '../enrollment/service.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { type ScepPolicy, scepPolicyOf, setScepPolicy } from './policy.ts'
import {
  ChallengeParams,
  ChallengeView,
  NewChallengeBody,
  NewChallengeView,
  ScepParams,
  ScepPolicyBody,
  ScepPolicyView,
} from './wire.ts'

export const scepRoutes = [
  route({
    method: 'get',
    path: '/enrollment-profiles/:profileId/scep',
    summary: 'Whether the devices of a profile may enroll by SCEP, and how',
    permission: 'enrollment:read',
    scope: 'devices',
    versioned: 'version',
    params: ScepParams,
    response: ScepPolicyView,
    handle: async ({ ctx, reach, params: { profileId } }) => {
      await requireProfile(ctx.db, profileId, reach)
      const profile = await getProfileById(ctx.db, profileId)
      return policyView(ctx.config, profile, await scepPolicyOf(ctx.db, profileId))
    },
  }),

  route({
    method: 'put',
    path: '/enrollment-profiles/:profileId/scep',
    summary: 'Let the devices of a profile enroll by SCEP, or no longer',
    permission: 'enrollment:write',
    scope: 'devices',
    refuses: ['not-ready'],
    versioned: 'version',
    params: ScepParams,
    body: ScepPolicyBody,
    response: ScepPolicyView,
    handle: async ({ ctx, reach, params: { profileId }, body, actor, ifMatch }) => {
      await requireProfile(ctx.db, profileId, reach)
      const by = { actor: actor.id, requestId: actor.requestId }
      const { profile, policy } = await setScepPolicy(ctx, { profileId, body, ifMatch, ...by })
      return policyView(ctx.config, profile, policy)
    },
  }),

  route({
    method: 'get',
    path: '/enrollment-profiles/:profileId/scep-challenges',
    summary: 'SCEP challenges of a profile, without their secrets, newest first',
    permission: 'enrollment:read',
    scope: 'devices',
    params: ScepParams,
    query: PageQuery,
    response: Page(ChallengeView),
    handle: async ({ ctx, reach, params: { profileId }, query: { cursor, limit } }) => {
      await requireProfile(ctx.db, profileId, reach)
      const page = { before: cursor, limit: limit + 1 }
      const rows = await listChallenges(ctx.db, profileId, page)
      return pageOf(rows, limit, view, (token) => token.id)
    },
  }),

  route({
    method: 'post',
    path: '/enrollment-profiles/:profileId/scep-challenges',
    summary: 'Make a SCEP challenge for one device; it is shown once and works once',
    permission: 'enrollment:write',
    scope: 'devices',
    refuses: ['not-ready', 'quota-exhausted'],
    status: 201,
    creates: true,
    params: ScepParams,
    body: NewChallengeBody,
    response: NewChallengeView,
    handle: async ({ ctx, reach, params: { profileId }, body, actor, newId }) => {
      await requireProfile(ctx.db, profileId, reach)
      const { serialNumber, validMinutes } = body
      const profile = await getProfileById(ctx.db, profileId)
      const made = await createChallenge(ctx, {
        id: newId,
        profileId,
        serialNumber,
        reach,
        expiresAt: new Date(ctx.clock.now().getTime() + validMinutes * 60_000),
        actor: actor.id,
        requestId: actor.requestId,
      })
      return { ...view(made.row), challenge: made.challenge, url: urlOf(ctx.config, profile) }
    },
  }),

  route({
    method: 'delete',
    path: '/enrollment-profiles/:profileId/scep-challenges/:challengeId',
    summary: 'End a SCEP challenge; a certificate issued with it stays',
    permission: 'enrollment:write',
    scope: 'devices',
    status: 204,
    params: ChallengeParams,
    response: z.undefined(),
    handle: async ({ ctx, reach, params: { profileId, challengeId }, actor }) => {
      await requireProfile(ctx.db, profileId, reach)
      const by = { actor: actor.id, requestId: actor.requestId }
      await endToken(ctx, { profileId, tokenId: challengeId, ...by })
      return undefined
    },
  }),
]

function policyView(config: Config, profile: Profile, policy: ScepPolicy): ScepPolicyView {
  const { changedAt, ...rules } = policy
  return { ...rules, url: urlOf(config, profile), changedAt: changedAt?.toISOString() ?? null }
}

/** Behind a port of 0, in tests, the address is only known to whoever asked for it. */
function urlOf({ publicHost, ports }: Config, { name }: Profile): string {
  const host = isIPv6(publicHost) ? `[${publicHost}]` : publicHost
  return `https://${host}:${ports.device}/scep/${name}`
}

function view(token: Token): ChallengeView {
  return {
    id: token.id,
    serialNumber: token.identity ?? '',
    isUsed: token.uses > 0,
    expiresAt: token.expires_at?.toISOString() ?? null,
    createdBy: token.created_by,
    createdAt: token.created_at.toISOString(),
  }
}

import { route } from '../http/route.ts'
import { type EstPolicy, estPolicyOf, setEstPolicy } from './est-policy.ts'
import { requireProfile } from './reach.ts'
import { getProfile } from './store.ts'
import { EstPolicyBody, EstPolicyView, ProfileParams } from './wire.ts'

export const estPolicyRoutes = [
  route({
    method: 'get',
    path: '/enrollment-profiles/:profileId/est',
    summary: 'How the devices of a profile renew and speak EST',
    permission: 'enrollment:read',
    scope: 'devices',
    versioned: 'version',
    params: ProfileParams,
    response: EstPolicyView,
    handle: async ({ ctx, reach, params: { profileId } }) => {
      await requireProfile(ctx.db, profileId, reach)
      await getProfile(ctx.db, profileId)
      return view(await estPolicyOf(ctx.db, profileId))
    },
  }),

  route({
    method: 'put',
    path: '/enrollment-profiles/:profileId/est',
    summary:
      'Set how the devices of a profile renew and speak EST; what is left out has its default',
    permission: 'enrollment:write',
    scope: 'devices',
    versioned: 'version',
    params: ProfileParams,
    body: EstPolicyBody,
    response: EstPolicyView,
    handle: async ({ ctx, reach, params: { profileId }, body, actor, ifMatch }) => {
      await requireProfile(ctx.db, profileId, reach)
      const by = { actor: actor.id, requestId: actor.requestId }
      return view(await setEstPolicy(ctx, { profileId, body, ifMatch, ...by }))
    },
  }),
]

function view({ renewal, renewalKey, overlapDays, ...policy }: EstPolicy): EstPolicyView {
  return {
    renewal: {
      opensPercent: renewal.opensPercent,
      jitterPercent: renewal.jitterPercent,
      graceDays: renewal.graceDays,
      key: renewalKey,
      issuedBefore: renewal.issuedBefore?.toISOString() ?? null,
      spreadHours: renewal.spreadHours,
      overlapDays,
    },
    csrAttributes: policy.csrAttributes?.toString('base64') ?? null,
    channelBinding: policy.channelBinding,
    serverKey: policy.serverKey,
    changedAt: policy.changedAt?.toISOString() ?? null,
    version: policy.version,
  }
}

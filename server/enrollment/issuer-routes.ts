import { route } from '../http/route.ts'
import { setIssuer } from './issuer.ts'
import { requireProfile } from './reach.ts'
import { view } from './routes.ts'
import { ProfileIssuerBody, ProfileParams, ProfileView } from './wire.ts'

export const profileIssuerRoutes = [
  route({
    method: 'put',
    path: '/enrollment-profiles/:profileId/issuer',
    summary: 'Whose authority issues to the devices of a profile, from their next certificate on',
    permission: 'enrollment:write',
    scope: 'devices',
    refuses: ['not-ready'],
    versioned: 'version',
    params: ProfileParams,
    body: ProfileIssuerBody,
    response: ProfileView,
    handle: async ({ ctx, reach, params: { profileId }, body: { series }, actor, ifMatch }) => {
      await requireProfile(ctx.db, profileId, reach)
      const by = { actor: actor.id, requestId: actor.requestId }
      return view(await setIssuer(ctx, { profileId, series, ifMatch, ...by }))
    },
  }),
]

import { AuthorityParams } from '../authorities/wire.ts'
import { route } from '../http/route.ts'
import { importRootCrl } from './root-crl.ts'
import { RootCrlBody, RootCrlView } from './wire.ts'

export const rootCrlRoutes = [
  route({
    method: 'post',
    path: '/authorities/:authorityId/crl',
    summary: 'Publish the list of a root whose key is elsewhere: what fleetseal ceremony crl made',
    permission: 'authorities:manage',
    scope: 'fleet',
    refuses: ['not-ready'],
    params: AuthorityParams,
    body: RootCrlBody,
    response: RootCrlView,
    handle: async ({ ctx, params, body, actor }) => {
      const made = await importRootCrl(ctx, {
        authorityId: params.authorityId,
        file: body.crl,
        actor: actor.id,
        requestId: actor.requestId,
      })
      return {
        ...made,
        thisUpdate: made.thisUpdate.toISOString(),
        nextUpdate: made.nextUpdate.toISOString(),
      }
    },
  }),
]

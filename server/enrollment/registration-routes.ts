import { route } from '../http/route.ts'
import { csvBody } from './csv-body.ts'
import { requireProfile } from './reach.ts'
import { importRegistrations, maxRegistrationBytes } from './registrations.ts'
import { ImportQuery, ImportView, ProfileParams } from './wire.ts'

export const registrationRoutes = [
  route({
    method: 'post',
    path: '/enrollment-profiles/:profileId/registrations',
    summary: 'Register devices from CSV (text/csv, streamed): serialNumber, name; an error per row',
    permission: 'enrollment:write',
    scope: 'devices',
    refuses: ['quota-exhausted', 'too-large', 'unsupported-media-type'],
    costly: true,
    upload: 'text/csv',
    params: ProfileParams,
    query: ImportQuery,
    response: ImportView,
    handle: async ({ ctx, reach, params: { profileId }, query, actor, req }) => {
      await requireProfile(ctx.db, profileId, reach)
      return await importRegistrations(ctx, {
        profileId,
        isDryRun: query.dryRun === 'true',
        chunks: csvBody(req, maxRegistrationBytes),
        reach,
        actor: actor.id,
        requestId: actor.requestId,
      })
    },
  }),
]

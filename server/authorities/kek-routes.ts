import { route } from '../http/route.ts'
import { confirmKek, type KekStatus, kekStatus, rotateKek } from './kek-rotation.ts'
import { KekActionBody, KekView } from './wire.ts'

export const kekRoutes = [
  route({
    method: 'get',
    path: '/key-encryption-key',
    summary:
      'When the key that wraps all keys was changed, and whether the one before is still kept',
    permission: 'authorities:read',
    scope: 'fleet',
    response: KekView,
    handle: async ({ ctx }) => view(await kekStatus(ctx)),
  }),

  route({
    method: 'post',
    path: '/key-encryption-key/actions',
    summary: 'Replace the key that wraps all keys, or remove the one before',
    permission: 'authorities:manage',
    scope: 'fleet',
    stepUp: true,
    refuses: ['not-ready'],
    body: KekActionBody,
    response: KekView,
    handle: async ({ ctx, body, actor }) => {
      const by = { actor: actor.id, requestId: actor.requestId }
      return view(await (body.action === 'rotate' ? rotateKek(ctx, by) : confirmKek(ctx, by)))
    },
  }),
]

function view({ rotatedAt, isPreviousKept }: KekStatus): KekView {
  return { rotatedAt: rotatedAt?.toISOString() ?? null, isPreviousKept }
}

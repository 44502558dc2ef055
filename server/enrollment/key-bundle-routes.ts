import { requireDevice } from '../devices/reach.ts'
import { route } from '../http/route.ts'
import { createKeyBundle } from './key-bundle.ts'
import { KeyBundleBody, KeyBundleParams, KeyBundleView } from './wire.ts'

export const keyBundleRoutes = [
  route({
    method: 'post',
    path: '/devices/:deviceId/key-bundles',
    summary: 'Make key and certificate for a device that cannot, as PKCS #12; shown once',
    permission: 'enrollment:write',
    scope: 'devices',
    refuses: ['not-ready', 'quota-exhausted'],
    status: 201,
    creates: true,
    params: KeyBundleParams,
    body: KeyBundleBody,
    response: KeyBundleView,
    handle: async ({ ctx, reach, params: { deviceId }, body, actor, newId }) => {
      await requireDevice(ctx.db, deviceId, reach)
      const by = { actor: actor.id, requestId: actor.requestId }
      const made = await createKeyBundle(ctx, { id: newId, deviceId, body, ...by })
      return {
        certificateId: made.certificateId,
        notAfter: made.notAfter.toISOString(),
        pkcs12: made.pkcs12.toString('base64'),
        passphrase: made.passphrase,
      }
    },
  }),
]

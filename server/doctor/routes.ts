import { route } from '../http/route.ts'
import { examine } from './examine.ts'
import { DoctorView } from './wire.ts'

export const doctorRoutes = [
  route({
    method: 'get',
    path: '/doctor',
    summary: 'What is wrong with this installation, or soon will be, and what mends it',
    permission: 'server:read',
    scope: 'fleet',
    response: DoctorView,
    handle: async ({ ctx }) => {
      const { device, mqtt, public: open } = ctx.config.ports
      return {
        at: ctx.clock.now().toISOString(),
        findings: await examine(ctx),
        listeners: { host: ctx.config.publicHost, device, mqtt, public: open },
      }
    },
  }),
]

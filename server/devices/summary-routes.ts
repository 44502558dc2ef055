import { route } from '../http/route.ts'
import { deviceStates } from './state.ts'
import { countDevices } from './summary-store.ts'
import { SummaryView } from './summary-wire.ts'

export const deviceSummaryRoutes = [
  route({
    method: 'get',
    path: '/devices/summary',
    summary: 'How many devices there are, by state',
    permission: 'devices:read',
    scope: 'devices',
    costly: true,
    response: SummaryView,
    handle: async ({ ctx, reach }) => {
      const rows = await countDevices(ctx.db, reach)
      const sum = (numbers: readonly number[]) => numbers.reduce((all, one) => all + one, 0)
      const inState = (name: string) => rows.find(({ state }) => state === name)?.devices ?? 0
      const byState = deviceStates.map((state) => [state, inState(state)] as const)
      return {
        total: sum(rows.map(({ devices }) => devices)),
        connected: sum(rows.map(({ connected }) => connected)),
        byState: Object.fromEntries(byState) as SummaryView['byState'],
      }
    },
  }),
]

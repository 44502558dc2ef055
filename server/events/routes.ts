import { z } from 'zod'

import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { type EventRow, listEvents } from './store.ts'
import { eventFilter, EventView } from './wire.ts'

export const eventRoutes = [
  route({
    method: 'get',
    path: '/events',
    summary: 'Security events, newest first',
    permission: 'events:read',
    scope: 'devices',
    query: z.strictObject({ ...PageQuery.shape, ...eventFilter }),
    response: Page(EventView),
    handle: async ({ ctx, reach, query }) => {
      const { cursor, limit, ...filter } = query
      const rows = await listEvents(ctx.db, { ...filter, reach, before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, view, (row) => row.id)
    },
  }),
]

function view(row: EventRow): EventView {
  return {
    id: row.id,
    at: row.at.toISOString(),
    source: row.source,
    kind: row.kind,
    severity: row.severity,
    deviceId: row.device_id,
    // Written by recordEvents and the device message, which take nothing but objects.
    facts: row.facts as Record<string, unknown>,
  }
}

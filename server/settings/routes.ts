import { z } from 'zod'

import { requireDevice } from '../devices/reach.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { setSettings } from './service.ts'
import { type DeviceSettings, listSettings, newestRevision } from './store.ts'
import { SettingsBody, SettingsParams, SettingsView } from './wire.ts'

const SettingsPage = z.object({
  ...Page(SettingsView).shape,
  /** Of the newest, for `If-Match`: 0 while there are none. */
  revision: z.int(),
})

export const settingsRoutes = [
  route({
    method: 'get',
    path: '/devices/:deviceId/settings',
    summary: "A device's own settings, newest first, and what became of each",
    permission: 'settings:read',
    scope: 'devices',
    params: SettingsParams,
    query: PageQuery,
    versioned: 'revision',
    response: SettingsPage,
    handle: async ({ ctx, reach, params: { deviceId }, query: { cursor, limit } }) => {
      await requireDevice(ctx.db, deviceId, reach)
      const before = cursor === undefined ? undefined : Number(cursor)
      const rows = await listSettings(ctx.db, deviceId, { before, limit: limit + 1 })
      const revision =
        before === undefined ? (rows[0]?.revision ?? 0) : await newestRevision(ctx.db, deviceId)
      return { ...pageOf(rows, limit, view, (row) => String(row.revision)), revision }
    },
  }),

  route({
    method: 'put',
    path: '/devices/:deviceId/settings',
    summary:
      'What one device shall have over its fleet’s settings, within the schema that was signed offline',
    permission: 'settings:write',
    scope: 'devices',
    refuses: ['not-ready'],
    versioned: 'revision',
    params: SettingsParams,
    body: SettingsBody,
    response: SettingsView,
    handle: async ({ ctx, reach, params: { deviceId }, body: { settings }, actor, ifMatch }) => {
      await requireDevice(ctx.db, deviceId, reach)
      const by = { actor: actor.id, requestId: actor.requestId }
      return view(await setSettings(ctx, { deviceId, settings, ifMatch, ...by }))
    },
  }),
]

function view(row: DeviceSettings): SettingsView {
  return {
    id: row.id,
    deviceId: row.device_id,
    revision: row.revision,
    // Written by setSettings, which takes nothing but objects.
    settings: JSON.parse(row.settings) as Record<string, unknown>,
    state: row.state,
    code: row.code,
    detail: row.detail,
    createdBy: row.created_by,
    createdAt: row.created_at.toISOString(),
    changedAt: row.changed_at.toISOString(),
  }
}

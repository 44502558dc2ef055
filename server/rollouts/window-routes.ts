import { z } from 'zod'

import { requireDevice } from '../devices/reach.ts'
import { requireCovered } from '../groups/reach.ts'
import type { Actor } from '../http/access.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { planOf } from './window-facts.ts'
import {
  changeCalendar,
  createCalendar,
  removeCalendar,
  removeWindow,
  setWindow,
} from './window-service.ts'
import {
  type BlackoutCalendar,
  listCalendars,
  listWindows,
  type MaintenanceWindow,
} from './window-store.ts'
import { windowView } from './window-view.ts'
import {
  CalendarBody,
  CalendarView,
  MaintenanceWindowView,
  StoredDates,
  WindowRule,
} from './window-wire.ts'

const id = z.uuid().toLowerCase()
const GroupParams = z.object({ groupId: id })
const DeviceParams = z.object({ deviceId: id })
const CalendarParams = z.object({ blackoutId: id })
const by = (actor: Actor) => ({ actor: actor.id, requestId: actor.requestId })

export const windowRoutes = [
  route({
    method: 'get',
    path: '/windows',
    summary:
      'The maintenance windows of devices and groups, newest first, and whether they are open',
    permission: 'windows:read',
    scope: 'devices',
    query: z.strictObject({
      ...PageQuery.shape,
      deviceId: id.optional(),
      groupId: id.optional(),
    }),
    response: Page(MaintenanceWindowView),
    handle: async ({ ctx, reach, query: { limit, cursor, deviceId, groupId } }) => {
      const rows = await listWindows(
        ctx.db,
        { reach, deviceId, groupId, before: cursor },
        limit + 1,
      )
      const now = ctx.clock.now()
      return pageOf(
        rows,
        limit,
        (row) => viewOf(row, now),
        (row) => row.id,
      )
    },
  }),

  route({
    method: 'put',
    path: '/groups/:groupId/window',
    summary: 'Let updates begin on the devices of a group in this window only',
    permission: 'windows:write',
    scope: 'devices',
    versioned: 'version',
    params: GroupParams,
    body: WindowRule,
    response: MaintenanceWindowView,
    handle: async ({ ctx, reach, params: owner, body: rule, actor, ifMatch }) => {
      requireCovered(owner.groupId, reach)
      return viewOf(await setWindow(ctx, { owner, rule, ifMatch, ...by(actor) }), ctx.clock.now())
    },
  }),

  route({
    method: 'delete',
    path: '/groups/:groupId/window',
    summary: 'Take away the window of a group',
    permission: 'windows:write',
    scope: 'devices',
    versioned: 'version',
    status: 204,
    params: GroupParams,
    response: z.undefined(),
    handle: async ({ ctx, reach, params: owner, actor, ifMatch }) => {
      requireCovered(owner.groupId, reach)
      await removeWindow(ctx, { owner, ifMatch, ...by(actor) })
      return undefined
    },
  }),

  route({
    method: 'put',
    path: '/devices/:deviceId/window',
    summary: 'Let updates begin on a device in this window only, and in those of its groups',
    permission: 'windows:write',
    scope: 'devices',
    versioned: 'version',
    params: DeviceParams,
    body: WindowRule,
    response: MaintenanceWindowView,
    handle: async ({ ctx, reach, params: owner, body: rule, actor, ifMatch }) => {
      await requireDevice(ctx.db, owner.deviceId, reach)
      return viewOf(await setWindow(ctx, { owner, rule, ifMatch, ...by(actor) }), ctx.clock.now())
    },
  }),

  route({
    method: 'delete',
    path: '/devices/:deviceId/window',
    summary: 'Take away the window of a device',
    permission: 'windows:write',
    scope: 'devices',
    versioned: 'version',
    status: 204,
    params: DeviceParams,
    response: z.undefined(),
    handle: async ({ ctx, reach, params: owner, actor, ifMatch }) => {
      await requireDevice(ctx.db, owner.deviceId, reach)
      await removeWindow(ctx, { owner, ifMatch, ...by(actor) })
      return undefined
    },
  }),

  route({
    method: 'get',
    path: '/blackouts',
    summary: 'Calendars of days on which no update begins anywhere',
    permission: 'windows:read',
    scope: 'shared',
    query: PageQuery,
    response: Page(CalendarView),
    handle: async ({ ctx, query: { limit, cursor } }) => {
      const rows = await listCalendars(ctx.db, cursor, limit + 1)
      const now = ctx.clock.now()
      return pageOf(
        rows,
        limit,
        (row) => calendarView(row, now),
        (row) => row.id,
      )
    },
  }),

  route({
    method: 'post',
    path: '/blackouts',
    summary: 'Name days on which no update begins anywhere',
    permission: 'windows:write',
    scope: 'fleet',
    versioned: 'version',
    status: 201,
    creates: true,
    body: CalendarBody,
    response: CalendarView,
    handle: async ({ ctx, body, actor, newId }) =>
      calendarView(await createCalendar(ctx, { id: newId, body, ...by(actor) }), ctx.clock.now()),
  }),

  route({
    method: 'put',
    path: '/blackouts/:blackoutId',
    summary: 'Put other days in place of those of a calendar',
    permission: 'windows:write',
    scope: 'fleet',
    versioned: 'version',
    params: CalendarParams,
    body: CalendarBody,
    response: CalendarView,
    handle: async ({ ctx, params, body, actor, ifMatch }) => {
      const command = { id: params.blackoutId, body, ifMatch, ...by(actor) }
      return calendarView(await changeCalendar(ctx, command), ctx.clock.now())
    },
  }),

  route({
    method: 'delete',
    path: '/blackouts/:blackoutId',
    summary: 'Remove a calendar: its days are days like any other',
    permission: 'windows:write',
    scope: 'fleet',
    versioned: 'version',
    status: 204,
    params: CalendarParams,
    response: z.undefined(),
    handle: async ({ ctx, params, actor, ifMatch }) => {
      await removeCalendar(ctx, { id: params.blackoutId, ifMatch, ...by(actor) })
      return undefined
    },
  }),
]

function viewOf(row: MaintenanceWindow, now: Date): MaintenanceWindowView {
  const { opens, ...window } = windowView(row.rule, now) ?? unreadable
  return {
    id: row.id,
    deviceId: row.device_id,
    groupId: row.group_id,
    window,
    opens,
    createdBy: row.created_by,
    version: row.version,
    changedAt: row.changed_at.toISOString(),
  }
}

/** What only a hand in the database can have written: it never opens. */
const unreadable = {
  ...WindowRule.parse({ duration: 'PT0S', zone: 'UTC' }),
  opens: { open: false, until: null, next: null },
}

function calendarView(row: BlackoutCalendar, now: Date): CalendarView {
  const { zone, dates } = row
  const plan = planOf({
    rule: null,
    rules: null,
    calendars: [{ zone, dates }],
    ignore: null,
    neededMs: null,
  })
  const opening = plan.from(now.getTime())
  return {
    id: row.id,
    name: row.name,
    zone,
    dates: StoredDates.parse(dates),
    closed: opening === undefined || opening.startAt > now.getTime(),
    createdBy: row.created_by,
    version: row.version,
    changedAt: row.changed_at.toISOString(),
  }
}

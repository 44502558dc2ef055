import { z } from 'zod'

import { parseDeviceQuery } from '../device-query/parse.ts'
import { matchingSql } from '../device-query/sql.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { actOnDevice } from '../incidents/service.ts'
import { knowsGroup, type Reach } from '../protocol/reach.ts'
import { penaltyView } from '../rollouts/penalty.ts'
import { lastRefusalOf } from './last-refusal.ts'
import { requireDevice } from './reach.ts'
import { registerDevice } from './service.ts'
import { type DeviceDetails, type DeviceFilter, getDevice, listDevices } from './store.ts'
import { DeviceActionBody, deviceFilter, DeviceParams, DeviceView, NewDeviceBody } from './wire.ts'

export const deviceRoutes = [
  route({
    method: 'get',
    path: '/devices',
    summary: 'Devices, newest first; query is a question, or a piece of the name or serial number',
    permission: 'devices:read',
    scope: 'devices',
    refuses: ['not-found'],
    query: z.strictObject({ ...PageQuery.shape, ...deviceFilter }),
    response: Page(DeviceView),
    handle: async ({ ctx, reach, query: { cursor, limit, query, groupId, state, connected } }) => {
      const filter = wanted(query, ctx.clock.now(), reach)
      if (groupId !== undefined && !knowsGroup(reach, groupId)) return noDevices
      const rows = await listDevices(ctx.db, {
        ...filter,
        reach,
        groupId,
        state,
        connected: connected === undefined ? undefined : connected === 'true',
        before: cursor,
        limit: limit + 1,
      })
      return pageOf(rows, limit, viewWithin(reach), (device) => device.id)
    },
  }),

  route({
    method: 'post',
    path: '/devices',
    summary: 'Register a device before it enrolls',
    permission: 'devices:write',
    scope: 'devices',
    refuses: ['not-found'],
    status: 201,
    creates: true,
    body: NewDeviceBody,
    response: DeviceView,
    handle: async ({ ctx, body, actor, reach, newId }) =>
      viewWithin(reach)(
        await registerDevice(ctx, {
          ...body,
          id: newId,
          reach,
          actor: actor.id,
          requestId: actor.requestId,
        }),
      ),
  }),

  route({
    method: 'get',
    path: '/devices/:deviceId',
    summary: 'One device: what it is, runs and belongs to, and its certificate',
    permission: 'devices:read',
    scope: 'devices',
    params: DeviceParams,
    response: DeviceView,
    handle: async ({ ctx, params, reach }) => ({
      ...viewWithin(reach)(await getDevice(ctx.db, params.deviceId, reach)),
      lastRefusal: await lastRefusalOf(ctx, params.deviceId),
      penalty: await penaltyView(ctx, params.deviceId),
    }),
  }),

  route({
    method: 'post',
    path: '/devices/:deviceId/actions',
    summary: 'Cut a device off, let it back, revoke or retire it; in force when this answers',
    permission: {
      action: {
        disable: 'devices:disable',
        enable: 'devices:disable',
        revoke: 'devices:revoke',
        retire: 'devices:revoke',
      },
    },
    scope: 'devices',
    stepUp: ['disable', 'revoke'],
    refuses: ['illegal-transition'],
    params: DeviceParams,
    body: DeviceActionBody,
    response: DeviceView,
    handle: async ({ ctx, params, body, actor, reach }) => {
      await requireDevice(ctx.db, params.deviceId, reach)
      await actOnDevice(ctx, { deviceId: params.deviceId, ...body, by: actor })
      return viewWithin(reach)(await getDevice(ctx.db, params.deviceId, reach))
    },
  }),
]

/** What a group holds that does not exist. */
const noDevices = { items: [], nextCursor: null }

/** Comparisons, brackets and the words of the query language make a question; anything else is text to look for. */
const isQuestion = /[=<>()"';!*]|(?:^|\s)(?:and|or|not|in|like|exists)(?:\s|$)/

function wanted(
  query: string | undefined,
  now: Date,
  reach: Reach,
): Pick<DeviceFilter, 'text' | 'matching'> {
  if (query === undefined) return {}
  return isQuestion.test(query)
    ? { matching: matchingSql(parseDeviceQuery(query), now, reach) }
    : { text: query }
}

/** Of the groups of a device, those that whoever asks knows of. */
function viewWithin(reach: Reach): (device: DeviceDetails) => DeviceView {
  return (device) => {
    const shown = view(device)
    return { ...shown, groupIds: shown.groupIds.filter((id) => knowsGroup(reach, id)) }
  }
}

function view(device: DeviceDetails): DeviceView {
  return {
    id: device.id,
    name: device.name,
    serialNumber: device.serial_number,
    model: device.model,
    hardwareIds: device.hardware_ids,
    state: device.state,
    connected: device.connected ?? false,
    lastSeenAt: device.last_seen_at?.toISOString() ?? null,
    agent: device.agent,
    // Both were written from a parsed `hello`.
    attributes: device.attributes as DeviceView['attributes'],
    installed: device.installed as DeviceView['installed'],
    updateOptOut: device.update_opt_out,
    monitoring: device.monitoring_off ? 'off' : 'on',
    managed: device.is_managed,
    certificate: certificateOf(device),
    targetToken: device.has_token,
    groupIds: device.group_ids,
    createdAt: device.created_at.toISOString(),
    changedAt: device.changed_at.toISOString(),
  }
}

function certificateOf(device: DeviceDetails): DeviceView['certificate'] {
  const {
    certificate_id: id,
    certificate_state: state,
    certificate_serial: serial,
    certificate_fingerprint: fingerprint,
    certificate_not_before: notBefore,
    certificate_not_after: notAfter,
  } = device
  if (!id || !state || !serial || !fingerprint || !notBefore || !notAfter) return null
  return {
    id,
    state,
    serial: serial.toString('hex'),
    fingerprint,
    notBefore: notBefore.toISOString(),
    notAfter: notAfter.toISOString(),
  }
}

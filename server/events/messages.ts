import { storable } from '../db/storable.ts'
import { firstIdOf, newId } from '../ids.ts'
import { message, type MessageHandler } from '../mqtt/message.ts'
import { DeviceEvent } from '../protocol/messages.ts'
import { insertReported } from './store.ts'

/** Of one device within an hour. A device that has more to say than this has told us what matters. */
export const eventsPerHour = 60
const hourMs = 3_600_000

/** What a device says happened to it. Believed to be said by the device, not to be true. */
export const eventMessages: MessageHandler[] = [
  message({
    leaf: 'event',
    maxBytes: 4_096,
    body: DeviceEvent,
    store: async ({ tx, ctx, now, messages }) => {
      const events = messages.map(({ deviceId, body }) => ({
        id: newId(now),
        deviceId,
        kind: body.kind,
        severity: body.severity,
        facts: JSON.stringify({
          ...(body.detail === undefined ? {} : { detail: storable(body.detail) }),
          reportedAt: body.at,
        }),
      }))
      const stored = await insertReported(tx, events, {
        now,
        since: firstIdOf(new Date(now.getTime() - hourMs)),
        perDevice: eventsPerHour,
      })
      // Severity is the device's word; by closed lists only.
      ctx.metrics.securityEvents.inc({ source: 'device', severity: 'info' }, stored)
    },
  }),
]

import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { storable } from '../db/storable.ts'
import { firstIdOf, newId } from '../ids.ts'
import { message, type MessageHandler } from '../mqtt/message.ts'
import { eventsOfSecurity } from '../outbox/from-events.ts'
import { enqueueAll } from '../outbox/outbox.ts'
import { CommandResult, DeviceEvent } from '../protocol/messages.ts'
import { insertReported, optedOutOf, type ReportedEvent } from './store.ts'

/** Of one device within an hour. A device that has more to say than this has told us what matters. */
export const eventsPerHour = 60
const hourMs = 3_600_000

/** What a device says happened to it, or what came of a command. Believed to be said by the device, not to be true. */
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
        facts: factsOf(body, {}),
      }))
      await storeReported({ tx, ctx, now }, events)
    },
  }),

  message({
    leaf: 'command-result',
    maxBytes: 4_096,
    body: CommandResult,
    store: async ({ tx, ctx, now, messages }) => {
      const events = messages.map(({ deviceId, body }) => {
        const { command, result, code } = body
        const severity = result === 'done' ? ('info' as const) : ('warning' as const)
        return {
          id: newId(now),
          deviceId,
          kind: 'command-result',
          severity,
          facts: factsOf(body, { command, result, ...(code === undefined ? {} : { code }) }),
        }
      })
      await storeReported({ tx, ctx, now }, events)
    },
  }),
]

function factsOf(
  { detail, at }: { detail?: string | undefined; at: string },
  more: object,
): string {
  return JSON.stringify({
    ...more,
    ...(detail === undefined ? {} : { detail: storable(detail) }),
    reportedAt: at,
  })
}

async function storeReported(
  { tx, ctx, now }: { tx: Tx; ctx: Pick<Context, 'metrics'>; now: Date },
  events: readonly ReportedEvent[],
): Promise<void> {
  const silent = await optedOutOf(tx, [...new Set(events.map(({ deviceId }) => deviceId))])
  const heard = events.filter(({ deviceId }) => !silent.has(deviceId))
  // Counted and nothing else, not even which device it was.
  if (heard.length < events.length) ctx.metrics.eventsOptedOut.inc(events.length - heard.length)
  if (heard.length === 0) return
  const stored = await insertReported(tx, heard, {
    now,
    since: firstIdOf(new Date(now.getTime() - hourMs)),
    perDevice: eventsPerHour,
  })
  await enqueueAll(tx, eventsOfSecurity(now, stored))
  // Severity is the device's word; by closed lists only.
  ctx.metrics.securityEvents.inc({ source: 'device', severity: 'info' }, stored.length)
}

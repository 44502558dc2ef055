import type { Tx } from '../db/client.ts'
import { newId } from '../ids.ts'
import { enqueueAll, type OutboxEvent } from '../outbox/outbox.ts'
import { mailOf } from './mail-text.ts'
import type { AlertRule } from './match.ts'
import type { Alert } from './store.ts'
import { channelsToTell, insertMails, mailsPerHour, type NewMail, setHeld } from './tell-store.ts'

interface Due {
  alert: Alert
  rule: AlertRule
}

const hourMs = 3_600_000

/** Tells webhooks and people of alerts, in the transaction that raises them: through the outbox, and by mails that wait to be sent. */
export async function tellAlerts(tx: Tx, due: readonly Due[], now: Date): Promise<void> {
  if (due.length === 0) return
  const ids = [...new Set(due.flatMap(({ rule }) => rule.channel_ids))]
  const channels = await channelsToTell(tx, ids, new Date(now.getTime() - hourMs))
  const events = due.map((one) => eventOf(one, now))
  const mails: NewMail[] = []
  for (const channel of channels) {
    const mine = due.filter(({ rule }) => rule.channel_ids.includes(channel.id))
    const { endpoint_id: endpointId, recipients } = channel
    if (endpointId !== null && !channel.hears_all) {
      events.push(...mine.map((one) => ({ ...eventOf(one, now), endpointId })))
    }
    if (recipients === null) continue
    const room = Math.max(0, mailsPerHour - channel.recent)
    mails.push(
      ...mine.slice(0, room).map(({ alert, rule }, n) => ({
        id: newId(now),
        channelId: channel.id,
        alertId: alert.id,
        recipients,
        ...mailOf(alert, rule, n === 0 ? channel.held : 0),
      })),
    )
    const held = (room > 0 ? 0 : channel.held) + Math.max(0, mine.length - room)
    if (held !== channel.held) await setHeld(tx, channel.id, held)
  }
  await enqueueAll(tx, events)
  await insertMails(tx, mails, now)
}

function eventOf({ alert, rule }: Due, at: Date): OutboxEvent {
  return {
    type: 'alert.raised',
    at,
    deviceId: alert.device_id ?? undefined,
    subject: alert.id,
    data: {
      alertId: alert.id,
      rule: rule.name,
      kind: alert.kind,
      severity: alert.severity,
      count: alert.count,
      firstAt: alert.first_at.toISOString(),
      lastAt: alert.last_at.toISOString(),
      again: alert.told_at !== null,
    },
  }
}

import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { storable } from '../db/storable.ts'
import { inTransaction } from '../db/transaction.ts'
import { firstIdOf, newId } from '../ids.ts'
import { eventsOfSecurity } from '../outbox/from-events.ts'
import { enqueueAll } from '../outbox/outbox.ts'
import { concernsServer, meaningOf } from './catalogue.ts'
import { withinFlow } from './flow.ts'
import { devicesWithMany, isKept, optedOutOf } from './store.ts'

export interface SecurityEvent {
  source: 'server' | 'device'
  /** From a closed list of kebab-case words, e.g. `mqtt-topic-refused`. */
  kind: string
  severity: 'info' | 'warning' | 'critical'
  deviceId?: string
  facts: Record<string, unknown>
}

/** In the transaction of what it belongs to. Others are told of them too. */
export async function recordEvents(
  tx: Tx,
  now: Date,
  events: readonly SecurityEvent[],
): Promise<void> {
  const heard = await withoutOptedOut(tx, events)
  if (heard.length === 0) return
  const raised = heard.map((event) => ({ ...event, id: newId(now) }))
  await tx
    .insertInto('security_event')
    .values(
      raised.map(({ deviceId, facts, ...event }) => ({
        ...event,
        at: now,
        device_id: deviceId ?? null,
        facts: JSON.stringify(facts, (_, value: unknown) => storableValue(value)),
      })),
    )
    .execute()
  await enqueueAll(tx, eventsOfSecurity(now, raised))
}

/**
 * Like `recordEvents`, of something that is found again each time somebody looks: nothing while the same (kind and facts) is kept already. False
 * then.
 */
export async function recordOnce(tx: Tx, now: Date, event: SecurityEvent): Promise<boolean> {
  if (await isKept(tx, event)) return false
  await recordEvents(tx, now, [event])
  return true
}

/** Without what is about what a device did whose owner switched that off; attacks on the server stay. No statement where there is nothing of the sort. */
async function withoutOptedOut(
  tx: Tx,
  events: readonly SecurityEvent[],
): Promise<readonly SecurityEvent[]> {
  const isOptional = ({ kind, deviceId }: SecurityEvent) =>
    deviceId !== undefined && !concernsServer(kind) && meaningOf(kind) !== undefined
  const ids = events.flatMap((event) => (isOptional(event) ? (event.deviceId ?? []) : []))
  const silent = await optedOutOf(tx, [...new Set(ids)])
  return events.filter((event) => !(isOptional(event) && silent.has(event.deviceId ?? '')))
}

/** One text that the database cannot hold would lose all events that are written with it. */
function storableValue(value: unknown): unknown {
  return typeof value === 'string' ? storable(value) : value
}

/** Of one device within an hour, of what it can cause as often as it likes. */
export const misconductPerHour = 60
const hourMs = 3_600_000

/**
 * Like `recordEvents`, for what a device does wrong in messages that are acknowledged all the same: a device that never stops
 * must not fill the table. What is left out is counted in the metrics only. Returns what was recorded.
 */
export async function recordMisconduct(
  tx: Tx,
  now: Date,
  events: readonly SecurityEvent[],
): Promise<SecurityEvent[]> {
  if (events.length === 0) return []
  const since = firstIdOf(new Date(now.getTime() - hourMs))
  const deviceIds = [...new Set(events.flatMap(({ deviceId }) => deviceId ?? []))]
  const full = new Set(await devicesWithMany(tx, deviceIds, { since, many: misconductPerHour }))
  const recorded = events.filter(({ deviceId }) => deviceId === undefined || !full.has(deviceId))
  await recordEvents(tx, now, recorded)
  return recorded
}

type EventDeps = Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>

const maxWaiting = 1_000
const flushMs = 100
const waiting = new WeakMap<object, { events: SecurityEvent[]; dropped: number }>()

/**
 * For refusals outside any transaction (a handshake, a foreign topic): collected and written in groups, so that an
 * attacker's flood of refusals costs us little. Above 1,000 waiting events only their number is kept; of one kind about one
 * device an hour's worth of a person's attention is, and the next one says how many were left out.
 */
export function noteEvent(deps: EventDeps, given: SecurityEvent): void {
  deps.metrics.securityEvents.inc({ source: given.source, severity: given.severity })
  const event = withinFlow(deps.db, given)
  if (!event) return
  const queue = waiting.get(deps.db)
  if (queue) {
    if (queue.events.length < maxWaiting) queue.events.push(event)
    else queue.dropped++
    return
  }
  waiting.set(deps.db, { events: [event], dropped: 0 })
  setTimeout(() => void flush(deps), flushMs).unref()
}

/** Writes what waits, after what is being written; called when the server stops. */
export async function flushEvents(deps: EventDeps): Promise<void> {
  await flushing.get(deps.db)
  await flush(deps)
}

/** The newest write of each database. */
const flushing = new WeakMap<object, Promise<void>>()

async function flush(deps: EventDeps): Promise<void> {
  const before = flushing.get(deps.db)
  const now = (async () => {
    await before
    await writeWaiting(deps)
  })()
  flushing.set(deps.db, now)
  await now
}

async function writeWaiting(deps: EventDeps): Promise<void> {
  const queue = waiting.get(deps.db)
  if (!queue) return
  waiting.delete(deps.db)
  const { events, dropped } = queue
  if (dropped > 0) {
    events.push({
      source: 'server',
      kind: 'events-dropped',
      severity: 'warning',
      facts: { dropped },
    })
  }
  try {
    await inTransaction(deps.db, (tx) => recordEvents(tx, deps.clock.now(), events))
  } catch (error) {
    deps.log.error({ err: error, events: events.length }, 'security events could not be stored')
  }
}

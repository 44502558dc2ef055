import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { newId } from '../ids.ts'

export interface SecurityEvent {
  source: 'server' | 'device'
  /** From a closed list of kebab-case words, e.g. `mqtt-topic-refused`. */
  kind: string
  severity: 'info' | 'warning' | 'critical'
  deviceId?: string
  facts: Record<string, unknown>
}

/** In the transaction of what it belongs to. */
export async function recordEvents(
  tx: Tx,
  now: Date,
  events: readonly SecurityEvent[],
): Promise<void> {
  if (events.length === 0) return
  await tx
    .insertInto('security_event')
    .values(
      events.map(({ deviceId, facts, ...event }) => ({
        ...event,
        id: newId(now),
        at: now,
        device_id: deviceId ?? null,
        facts: JSON.stringify(facts),
      })),
    )
    .execute()
}

type EventDeps = Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>

const maxWaiting = 1_000
const flushMs = 100
const waiting = new WeakMap<object, { events: SecurityEvent[]; dropped: number }>()

/**
 * For refusals outside any transaction (a handshake, a foreign topic): collected and written in groups, so that an
 * attacker's flood of refusals costs us little. Above 1,000 waiting events only their number is kept.
 */
export function noteEvent(deps: EventDeps, event: SecurityEvent): void {
  deps.metrics.securityEvents.inc({ source: event.source, severity: event.severity })
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

import type { Context } from '../context.ts'
import { storable } from '../db/storable.ts'
import { inTransaction } from '../db/transaction.ts'
import { recordEvents, type SecurityEvent } from '../events/record.ts'
import type { Worker } from '../workers/worker.ts'
import { readWebhookUrl } from './address.ts'
import { callWebhook } from './call.ts'
import {
  claimDue,
  type Due,
  dueEndpoints,
  type Outcome,
  releaseWaiting,
  saveOutcomes,
} from './delivery-store.ts'
import { backOffMs, endpointBackOffMs, giveUpMs } from './schedule.ts'
import { signingKeys } from './service.ts'
import { webhookHeaders } from './sign.ts'
import { type Endpoint, getEndpoint, lockEndpoint, updateEndpoint } from './store.ts'

/** For one call, all of it. */
const callMs = 15_000
/** Longer than any call: what is claimed for longer belongs to a process that ended. */
const leaseMs = 60_000
const inParallel = 8
const idleMs = 1_000

type Deps = Pick<Context, 'db' | 'clock' | 'kek' | 'config' | 'log' | 'metrics'>

interface Attempt {
  due: Due
  status: number | null
  error: string | null
}

/**
 * Delivers what waits, each endpoint by itself: a slow one holds up nobody else, and one that does not answer is asked by one call at a time until it takes
 * one. What waits is in the database only.
 */
export class Courier implements AsyncDisposable {
  readonly #ctx: Deps
  readonly #timeoutMs: number
  readonly #stop = new AbortController()
  readonly #serving = new Map<string, Promise<void>>()

  constructor(ctx: Deps, { timeoutMs = callMs }: { timeoutMs?: number } = {}) {
    this.#ctx = ctx
    this.#timeoutMs = timeoutMs
  }

  worker(): Worker {
    return {
      name: 'webhooks',
      idleMs,
      step: async () => {
        await this.#start()
        return false
      },
    }
  }

  /** Everything that is due now, and what becomes due by that. */
  async deliverDue(): Promise<void> {
    await this.#start()
    while (this.#serving.size > 0) await Promise.all(this.#serving.values())
  }

  async #start(): Promise<void> {
    const { db, clock, log } = this.#ctx
    for (const id of await dueEndpoints(db, clock.now())) {
      if (this.#serving.has(id)) continue
      const served = this.#serve(id)
        .catch((error: unknown) => log.error({ err: error, endpoint: id }, 'webhook not served'))
        .finally(() => this.#serving.delete(id))
      this.#serving.set(id, served)
    }
  }

  async #serve(endpointId: string): Promise<void> {
    const { db, clock } = this.#ctx
    for (;;) {
      const now = clock.now()
      const endpoint = await getEndpoint(db, endpointId)
      const isResting = endpoint.retry_at !== null && endpoint.retry_at > now
      if (endpoint.state !== 'active' || isResting || this.#stop.signal.aborted) return
      const limit = endpoint.failures > 0 ? 1 : inParallel
      const leaseUntil = new Date(now.getTime() + leaseMs)
      const due = await inTransaction(db, (tx) =>
        claimDue(tx, { endpointId, now, leaseUntil, limit }),
      )
      if (due.length === 0) return
      const attempts = await Promise.all(due.map((one) => this.#send(endpoint, one)))
      await this.#save(endpointId, attempts)
    }
  }

  async #send(endpoint: Endpoint, due: Due): Promise<Attempt> {
    const { clock, kek, config } = this.#ctx
    const isPrivateAllowed = config.privateWebhooks
    const now = clock.now()
    const { id, type, at, device_id: deviceId, subject, data } = due.event
    const body = JSON.stringify({ type, id, timestamp: at.toISOString(), deviceId, subject, data })
    try {
      const url = readWebhookUrl(endpoint.url, { isPrivateAllowed, at: 'url' })
      const headers = webhookHeaders(signingKeys(kek, endpoint, now), { id, now, body })
      const { signal } = this.#stop
      const call = { headers, body, timeoutMs: this.#timeoutMs, isPrivateAllowed, signal }
      const { status } = await callWebhook(url, call)
      const isTaken = status >= 200 && status < 300
      return { due, status, error: isTaken ? null : `it answered ${status}` }
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error)
      return { due, status: null, error: storable(text).slice(0, 300) || 'no answer' }
    }
  }

  async #save(endpointId: string, attempts: readonly Attempt[]): Promise<void> {
    const { db, clock, metrics } = this.#ctx
    const now = clock.now()
    const isStopped = this.#stop.signal.aborted
    const outcomes = attempts.map((one) => outcomeOf(one, now, isStopped))
    await inTransaction(db, async (tx) => {
      await saveOutcomes(tx, outcomes, now)
      const endpoint = await lockEndpoint(tx, endpointId).catch(() => undefined)
      // Deleted meanwhile, with all that waited for it.
      if (!endpoint || isStopped) return
      const { values, isBack } = judgeEndpoint(endpoint, attempts, now)
      if (values) await updateEndpoint(tx, endpointId, values)
      if (isBack) await releaseWaiting(tx, endpointId, now)
      const events = eventsOf(endpoint, outcomes, values?.disabled_because ?? null)
      await recordEvents(tx, now, events)
    })
    for (const { state } of outcomes) {
      metrics.webhookAttempts.inc({ outcome: state === 'pending' ? 'failed' : state })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#serving.values())
  }
}

function outcomeOf({ due, status, error }: Attempt, now: Date, isStopped: boolean): Outcome {
  const { id, attempts } = due
  const isTaken = error === null
  const isOver = now.getTime() - due.created_at.getTime() >= giveUpMs
  const state = isTaken ? 'delivered' : isOver ? 'dead' : 'pending'
  const waitMs = isTaken || isStopped ? 0 : backOffMs(attempts, Math.random())
  return { id, attempts, state, dueAt: new Date(now.getTime() + waitMs), status, error }
}

/** Does it say that the receiver as a whole does not work, or only that it does not want this one? */
function isDown({ status, error }: Attempt): boolean {
  return error !== null && (status === null || status >= 500 || status === 408 || status === 429)
}

type EndpointValues = Parameters<typeof updateEndpoint>[2]

function judgeEndpoint(
  endpoint: Endpoint,
  attempts: readonly Attempt[],
  now: Date,
): { values?: EndpointValues; isBack: boolean } {
  if (endpoint.state !== 'active') return { isBack: false }
  if (attempts.some(({ status }) => status === 410)) {
    return { values: disabled('gone', now), isBack: false }
  }
  if (attempts.some((one) => !isDown(one))) {
    if (endpoint.failures === 0) return { isBack: false }
    return { values: { failures: 0, failing_since: null, retry_at: null }, isBack: true }
  }
  const since = endpoint.failing_since ?? now
  if (now.getTime() - since.getTime() >= giveUpMs) {
    return { values: disabled('failing', now), isBack: false }
  }
  const failures = endpoint.failures + 1
  const waitMs = endpointBackOffMs(failures, Math.random())
  const retry_at = new Date(now.getTime() + waitMs)
  return { values: { failures, failing_since: since, retry_at }, isBack: false }
}

function disabled(why: 'gone' | 'failing', now: Date): EndpointValues {
  return { state: 'disabled', disabled_because: why, changed_at: now }
}

function eventsOf(
  { id: endpointId, url }: Endpoint,
  outcomes: readonly Outcome[],
  because: string | null,
): SecurityEvent[] {
  const dead = outcomes.filter(({ state }) => state === 'dead').length
  const host = URL.parse(url)?.host
  const base = { source: 'server', facts: { endpointId, host } } as const
  return [
    ...(because === null
      ? []
      : [
          {
            ...base,
            kind: 'webhook-disabled',
            severity: 'critical' as const,
            facts: { ...base.facts, because },
          },
        ]),
    ...(dead === 0
      ? []
      : [
          {
            ...base,
            kind: 'webhook-dead-letters',
            severity: 'warning' as const,
            facts: { ...base.facts, dead },
          },
        ]),
  ]
}

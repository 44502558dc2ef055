import type { Context } from '../context.ts'
import { noteEvent } from '../events/record.ts'
import type { Refusal } from '../identity.ts'
import { TokenBucket } from './token-bucket.ts'

/** Faults of ours or of the network, and what happens to honest devices: counted, not held against anybody. */
const harmless = [
  'busy',
  'connection-broken',
  'hook-failed',
  'hook-timeout',
  'keepalive-timeout',
  'not-admitted',
  'stopping',
  'store-failed',
  'too-many-sessions',
] as const

/** Recorded as a security event `mqtt-<reason>` too. */
const suspicious = [
  'client-id-mismatch',
  'certificate-not-trusted',
  'connect-timeout',
  'filter-refused',
  'keepalive-refused',
  'malformed-message',
  'malformed-packet',
  'message-rejected',
  'no-certificate',
  'packet-too-large',
  'protocol-error',
  'protocol-version',
  'proxy-header',
  'qos-refused',
  'rate-exceeded',
  'retain-refused',
  'slow-consumer',
  'taken-over',
  'tls-failed',
  'too-many-connections',
  'too-many-filters',
  'too-many-in-flight',
  'topic-refused',
] as const

/** Why a connection was refused or ended. A closed list, because it labels a metric. */
export type RefusalReason = (typeof harmless)[number] | (typeof suspicious)[number] | Refusal

/** Ends a connection; the peer sees the close, or a CONNACK with `returnCode`, and never the message. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly reason: RefusalReason
  /** Of these, `deviceId` says whom it concerns when the connection itself has not proved that. */
  readonly facts: Readonly<Record<string, unknown>>
  /** MQTT 3.1.1 §3.2.2.3, for a refusal in `authenticate`; 5 (not authorized) when left out. */
  readonly returnCode: number

  constructor(
    reason: RefusalReason,
    facts: Record<string, unknown> = {},
    { returnCode = 5, cause }: { returnCode?: number; cause?: unknown } = {},
  ) {
    super(`refused: ${reason}`, { cause })
    this.reason = reason
    this.facts = facts
    this.returnCode = returnCode
  }
}

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>

const anonymousBurst = 100
const anonymousPerSecond = 2
const deviceBurst = 20
const devicePerSecond = 1 / 60
/** Devices whose bucket is remembered; the longest unseen one goes first. */
const maxBuckets = 10_000

/**
 * Counts every refusal and writes down as many of them as anybody will read: a device that comes back every second, or
 * a port scan, must not fill the table of security events. What was left out is said in the next event.
 */
export class RefusalLog {
  readonly #deps: Deps
  readonly #buckets = new Map<string, TokenBucket>()
  readonly #anonymous = new TokenBucket(anonymousPerSecond, anonymousBurst)
  #suppressed = 0

  constructor(deps: Deps) {
    this.#deps = deps
  }

  record(
    refused: Refused,
    facts: { deviceId?: string | undefined; remoteAddress?: string | undefined },
  ): void {
    const { reason } = refused
    const { deviceId: verdictOf, ...said } = refused.facts
    const deviceId = facts.deviceId ?? (typeof verdictOf === 'string' ? verdictOf : undefined)
    this.#deps.metrics.mqttRefused.inc({ reason })
    if ((harmless as readonly string[]).includes(reason)) {
      this.#deps.log.debug({ reason, ...facts, err: refused.cause }, 'MQTT connection ended')
      return
    }
    if (!this.#bucket(deviceId).take()) {
      this.#suppressed++
      return
    }
    const { remoteAddress } = facts
    const suppressed = this.#suppressed
    this.#suppressed = 0
    noteEvent(this.#deps, {
      source: 'server',
      kind: `mqtt-${reason}`,
      severity: reason === 'taken-over' ? 'info' : 'warning',
      ...(deviceId === undefined ? {} : { deviceId }),
      facts: {
        ...said,
        ...(remoteAddress === undefined ? {} : { remoteAddress }),
        ...(suppressed === 0 ? {} : { suppressed }),
      },
    })
  }

  #bucket(deviceId: string | undefined): TokenBucket {
    if (deviceId === undefined) return this.#anonymous
    const bucket = this.#buckets.get(deviceId) ?? new TokenBucket(devicePerSecond, deviceBurst)
    // A Map iterates in order of insertion, so the first key is the longest unseen one.
    this.#buckets.delete(deviceId)
    this.#buckets.set(deviceId, bucket)
    for (const oldest of this.#buckets.keys()) {
      if (this.#buckets.size <= maxBuckets) break
      this.#buckets.delete(oldest)
    }
    return bucket
  }
}

import { TokenBucket } from '../mqtt/token-bucket.ts'
import type { SecurityEvent } from './record.ts'

interface Flow {
  bucket: TokenBucket
  suppressed: number
}

/** Of one kind: about one device, and about nobody in particular. */
const deviceBurst = 60
const devicePerSecond = 1 / 60
const anonymousBurst = 1_000
const anonymousPerSecond = 10
const maxFlows = 10_000
/** By database: one for each process. */
const flows = new WeakMap<object, Map<string, Flow>>()

/**
 * The event, with the number of those that were left out before it; undefined when it is one too many of its kind about its
 * device. A certificate that was refused may be shown again as often as its holder likes.
 */
export function withinFlow(db: object, event: SecurityEvent): SecurityEvent | undefined {
  const known = flows.get(db) ?? new Map<string, Flow>()
  flows.set(db, known)
  const { kind, deviceId, facts } = event
  const key = `${kind} ${deviceId ?? ''}`
  const flow = known.get(key) ?? { bucket: newBucket(deviceId), suppressed: 0 }
  // A Map iterates in order of insertion: the longest unseen one makes room.
  known.delete(key)
  known.set(key, flow)
  const [oldest] = known.keys()
  if (known.size > maxFlows && oldest !== undefined) known.delete(oldest)
  if (!flow.bucket.take()) {
    flow.suppressed++
    return undefined
  }
  const { suppressed } = flow
  flow.suppressed = 0
  return suppressed === 0 ? event : { ...event, facts: { ...facts, suppressed } }
}

function newBucket(deviceId: string | undefined): TokenBucket {
  return deviceId === undefined
    ? new TokenBucket(anonymousPerSecond, anonymousBurst)
    : new TokenBucket(devicePerSecond, deviceBurst)
}

import type { Offer, Owner, Task } from './journal.ts'

/**
 * Whose word decides about an offered update (updates.md 7.2), from the signed policy and the owner's answers; pure. Times
 * are milliseconds of the device's trusted time.
 */
export type Decision =
  | { decision: 'install' }
  /** Only the owner may say yes; or, until `until`, may still say no. */
  | { decision: 'ask'; until?: number }
  | { decision: 'postponed'; until: number }
  | { decision: 'optedOut' }

export interface ChoiceFacts {
  task: Pick<Task, 'policy' | 'accepted'>
  offer: Offer
  owner: Owner
  /** The device was enrolled as managed; a message cannot make it so. */
  managed: boolean
  /** How long an automatic update waits after its notice. */
  noticeMs: number
  now: number
}

const hourMs = 3_600_000
/** For an automatic update whose policy names no bounds. */
const defaultPostpone = { eachH: 72, graceH: 48, maxCount: 5, totalH: 336 }
const maxFreeMs = 365 * 24 * hourMs

export function decide(facts: ChoiceFacts): Decision {
  const { task, offer, now, noticeMs } = facts
  // A yes to this one beats the standing no.
  if (task.accepted) return { decision: 'install' }
  if (isOptedOut(facts)) return { decision: 'optedOut' }
  const postponed = offer.postponed.at(-1)
  if (postponed && now < postponed.until && now >= postponed.at) {
    return { decision: 'postponed', until: postponed.until }
  }
  if (!isAutomatic(facts)) {
    const deadline = deadlineOf(facts)
    if (deadline !== undefined && now >= deadline) return { decision: 'install' }
    return { decision: 'ask', ...(deadline !== undefined && { until: deadline }) }
  }
  // The notice is counted from the acknowledged offer, so an owner gets it in full.
  if (noticeMs > 0 && offer.postponed.length === 0) {
    const until = (offer.firstAt ?? now) + noticeMs
    if (now < until) return { decision: 'ask', until }
  }
  return { decision: 'install' }
}

/** Features wait for a yes whatever the director says: the class is the one the release's own keys signed. */
function isAutomatic({ task: { policy } }: ChoiceFacts): boolean {
  return policy.class !== 'feature' && policy.auto && policy.consent === 'none'
}

function isOptedOut({ task: { policy }, offer, owner, managed }: ChoiceFacts): boolean {
  if (policy.class === 'config') return false
  if (managed && policy.optOut === 'managed') return false
  return owner.optOut || offer.declined
}

/** After which postponing ends; undefined when it never does, for features, or has not begun. */
export function deadlineOf({ task: { policy }, offer }: ChoiceFacts): number | undefined {
  if (policy.class === 'feature' || !policy.auto || offer.firstAt === undefined) return undefined
  return offer.firstAt + (policy.postpone ?? defaultPostpone).totalH * hourMs
}

/** Until when the owner's quiet hours still hold an update back: the deadline and its grace. */
export function graceEndOf(facts: ChoiceFacts): number | undefined {
  const deadline = deadlineOf(facts)
  const { graceH } = facts.task.policy.postpone ?? defaultPostpone
  return deadline === undefined ? undefined : deadline + graceH * hourMs
}

export type Postponement = { allowed: true; until: number } | { allowed: false; reason: string }

/** Whether a postponement is within the signed limits, and until when it lasts; `asked` is the owner's wish. */
export function postpone(facts: ChoiceFacts, asked: number | undefined): Postponement {
  const { task, offer, now } = facts
  if (asked !== undefined && asked <= now) {
    return { allowed: false, reason: 'that time has passed' }
  }
  if (task.policy.class === 'config') {
    return { allowed: false, reason: 'a configuration cannot be postponed' }
  }
  if (task.policy.class === 'feature' && !task.policy.postpone) {
    const until = asked ?? now + 7 * 24 * hourMs
    return until - now > maxFreeMs
      ? { allowed: false, reason: 'at most a year' }
      : { allowed: true, until }
  }
  const { eachH, maxCount, totalH } = task.policy.postpone ?? defaultPostpone
  if (offer.postponed.length >= maxCount) {
    return { allowed: false, reason: `it was postponed ${maxCount} times, which is the limit` }
  }
  const longest = now + eachH * hourMs
  if (asked !== undefined && asked > longest) {
    return { allowed: false, reason: `at most ${eachH} hours at a time` }
  }
  // Before the server acknowledged the offer, the deadline is counted as if it did now: never later than it will be.
  const deadline = (offer.firstAt ?? now) + totalH * hourMs
  if (now >= deadline) {
    return { allowed: false, reason: `it has been put off for ${totalH} hours, which is the limit` }
  }
  if (asked !== undefined && asked > deadline) {
    return { allowed: false, reason: `not beyond ${new Date(deadline).toISOString()}` }
  }
  return { allowed: true, until: asked ?? Math.min(longest, deadline) }
}

/** Whether a time of day, in minutes, is in one of the windows `22:00-06:00`; a malformed one never is. */
export function isInWindow(windows: readonly string[], minutes: number): boolean {
  return windows.some((window) => {
    const match = /^(\d\d):(\d\d)-(\d\d):(\d\d)$/.exec(window)
    if (!match) return false
    const [startHour, startMinute, endHour, endMinute] = match.slice(1).map(Number)
    const start = (startHour ?? 0) * 60 + (startMinute ?? 0)
    const end = (endHour ?? 0) * 60 + (endMinute ?? 0)
    return start <= end ? minutes >= start && minutes < end : minutes >= start || minutes < end
  })
}

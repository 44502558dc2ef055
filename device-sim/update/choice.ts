import type { Offer, Owner, Task, TaskPolicy } from './journal.ts'

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
  if (task.accepted || overrideOf(facts)) return { decision: 'install' }
  if (isOptedOut(facts)) return { decision: 'optedOut' }
  const until = postponedUntil(facts)
  if (until !== undefined) return { decision: 'postponed', until }
  if (!isAutomatic(facts)) {
    const deadline = deadlineOf(facts)
    if (deadline !== undefined && now >= deadline) return { decision: 'install' }
    return { decision: 'ask', ...(deadline !== undefined && { until: deadline }) }
  }
  // The notice is counted from the acknowledged offer, so an owner gets it in full.
  const { advisoryAt = 0 } = offer
  if (noticeMs > 0 && offer.postponed.every(({ at }) => at < advisoryAt)) {
    const noticeEnd = Math.max(offer.firstAt ?? now, advisoryAt) + noticeMs
    if (now < noticeEnd) return { decision: 'ask', until: noticeEnd }
  }
  return { decision: 'install' }
}

/** Features wait for a yes whatever the director says: the class is the one the release's own keys signed. */
function isAutomatic({ task: { policy } }: ChoiceFacts): boolean {
  return policy.class !== 'feature' && policy.auto && policy.consent === 'none'
}

function isOptedOut({ task: { policy }, offer, owner }: ChoiceFacts): boolean {
  if (policy.class === 'config') return false
  return owner.optOut || offer.declined
}

/** A postponement ends with its time, and with an advisory that the owner had not seen then. */
function postponedUntil({ offer, now }: ChoiceFacts): number | undefined {
  const postponed = offer.postponed.at(-1)
  if (!postponed || now >= postponed.until || now < postponed.at) return undefined
  return postponed.at < (offer.advisoryAt ?? 0) ? undefined : postponed.until
}

/**
 * What two people decided over the owner, while it is in force (updates.md 7.2): for security updates, and only on a device
 * that was enrolled as managed. Whoever holds the director's keys can sign it, and cannot make a device managed.
 */
export function overrideOf({
  task: { policy },
  managed,
  now,
}: Pick<ChoiceFacts, 'managed' | 'now'> & {
  task: { policy: TaskPolicy }
}): TaskPolicy['override'] {
  const { override, optOut } = policy
  if (!managed || optOut !== 'managed' || policy.class !== 'security' || !override) return undefined
  const until = Date.parse(override.until)
  return new Set(override.by).size >= 2 && now < until ? override : undefined
}

/** After which postponing ends; undefined when it never does, for features, or has not begun. */
export function deadlineOf({
  task: { policy },
  offer,
}: {
  task: { policy: TaskPolicy }
  offer: Offer
}): number | undefined {
  if (policy.class === 'feature' || !policy.auto || offer.firstAt === undefined) return undefined
  // It never moves earlier for the same release, whatever is signed later.
  return Math.max(
    offer.firstAt + (policy.postpone ?? defaultPostpone).totalH * hourMs,
    offer.deadlineAt ?? 0,
  )
}

/** The offer with the deadline that its owner has been told by now. */
export function withDeadline(offer: Offer, policy: TaskPolicy): Offer {
  const deadlineAt = deadlineOf({ task: { policy }, offer })
  return deadlineAt === undefined ? offer : { ...offer, deadlineAt }
}

/** How often an owner who opted out is told again. */
const reminderMs = 30 * 24 * hourMs

/** When the owner is told again of what they opted out of: opting out never stops notices. */
export function remindAt({ toldAt, firstAt }: Offer, now: number): number {
  return (toldAt ?? firstAt ?? now) + reminderMs
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
  const deadline = Math.max((offer.firstAt ?? now) + totalH * hourMs, offer.deadlineAt ?? 0)
  if (now >= deadline) {
    return { allowed: false, reason: `it has been put off for ${totalH} hours, which is the limit` }
  }
  if (asked !== undefined && asked > deadline) {
    return { allowed: false, reason: `not beyond ${new Date(deadline).toISOString()}` }
  }
  return { allowed: true, until: asked ?? Math.min(longest, deadline) }
}

import { decodeNotice } from '../../server/protocol/notice.ts'
import { type Journal, offerOf, type Task, type TaskPolicy, withOffer } from './journal.ts'
import { noted } from './ledger.ts'

/**
 * What its owner is told of an update. Opting out never stops it (CRA annex I, part I, 2(c)): a reminder every 30 days, and
 * one with each new advisory.
 */
export function reminderOf({ target, policy }: Task): string {
  const kind = policy.class === 'security' ? 'A security update' : 'An update'
  const text = policy.notice ? ` ${decodeNotice(policy.notice.text)}` : ''
  return `${kind} waits for your word: ${target.component} ${target.version}.${text} Accept it to install it.`
}

export function reminded(journal: Journal, task: Task, now: number): Journal {
  const next = withOffer(journal, { ...offerOf(journal, task.target), toldAt: now })
  return noted(next, { at: now, by: 'device', act: 'reminded', task })
}

/** Whether the owner, who knows the one, would choose anew knowing the other. */
export function isNewAdvisory(before: TaskPolicy, after: TaskPolicy): boolean {
  if (before.urgency === 'normal' && after.urgency === 'exploited') return true
  return after.advisory !== undefined && after.advisory.id !== before.advisory?.id
}

/** The same update under a new advisory: what was put off is offered again, what was opted out of is told again. */
export function withAdvisory(journal: Journal, task: Task, now: number): Journal {
  const offer = offerOf(journal, task.target)
  const next = withOffer(journal, { ...offer, advisoryAt: now, toldAt: now })
  return noted(next, { at: now, by: 'device', act: 'newAdvisory', task })
}

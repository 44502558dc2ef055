import { type ChoiceFacts, decide, graceEndOf, overrideOf, remindAt } from './choice.ts'
import { isInWindow, longEnough } from './hours.ts'
import type { Task } from './journal.ts'
import type { BootRecord, SlotName } from './slots.ts'

/** All that decides what comes next. Times are milliseconds of the device's trusted time. */
export interface Situation extends Omit<ChoiceFacts, 'task'> {
  task: Task | undefined
  /** Of the task's component. */
  record: BootRecord
  running: SlotName
  connected: boolean
  /** A download of this task runs now. */
  downloading: boolean
  /** Result of the self-test of the running image, once made. */
  healthy: boolean | undefined
  /** Reports are on their way that a restart would cut off. */
  flushing: boolean
  /** How long an uncommitted image may run. */
  commitLimitMs: number
  /** The owner's hours, and minutes of the day on the device. */
  quiet: readonly string[]
  localMinutes: number
  utcMinutes: number
  /** How long an installation takes here. */
  installMs: number
  /** Why nothing may be begun now, by battery, temperature, use or space; nothing beats that. */
  unsafe?: string | undefined
}

export type Step =
  | { do: 'wait'; until?: number }
  | { do: 'offer' | 'offerAgain' | 'accept' | 'optOut' | 'postponed' | 'remind' | 'refuseWindow' }
  | { do: 'download' | 'giveUp' }
  | { do: 'waitForWindow' | 'startInstall' | 'install' | 'activate' | 'reboot' }
  | { do: 'startTest' | 'checkHealth' | 'commit' | 'reportRolledBack' }
  | { do: 'rollBack'; code: 'health' | 'no-commit' }

export const maxAttempts = 5
const minuteMs = 60_000
const flushCheckMs = 250

/**
 * The next thing to do about the task, from what is true now (updates.md 7.1 and 7.3). It does nothing itself and every step
 * may be taken twice, so a power cut is just another call.
 */
export function nextStep(situation: Situation): Step {
  const { task } = situation
  if (!task) return { do: 'wait' }
  switch (task.state) {
    case 'queued':
      return { do: 'offer' }
    case 'offered':
    case 'postponed':
    case 'opted_out':
      return nextChoice(task, situation)
    case 'accepted':
    case 'downloading':
    case 'failed':
      return nextDownload(task, situation)
    case 'verified':
    case 'waiting_window':
      return nextWindow(task, situation)
    case 'installing':
      return { do: 'install' }
    case 'installed':
    case 'rebooting':
      return nextBoot(task, situation)
    case 'testing':
      return nextTest(task, situation)
    case 'succeeded':
    case 'rolled_back':
    case 'failed_final':
    case 'cancelled':
    case 'superseded':
    case 'expired':
    case 'lost':
      return { do: 'wait' }
    default:
      return task.state satisfies never
  }
}

function nextChoice(task: Task, situation: Situation): Step {
  const decision = decide({ ...situation, task })
  switch (decision.decision) {
    case 'install':
      // The time is up, not a yes: it is offered again first, for the record.
      return { do: task.state === 'postponed' && !task.accepted ? 'offerAgain' : 'accept' }
    case 'optedOut':
      return task.state === 'opted_out' ? nextReminder(situation) : { do: 'optOut' }
    case 'postponed':
      return task.state === 'postponed'
        ? { do: 'wait', until: decision.until }
        : { do: 'postponed' }
    case 'ask':
      return task.state === 'offered'
        ? { do: 'wait', ...(decision.until !== undefined && { until: decision.until }) }
        : { do: 'offerAgain' }
    default:
      return decision satisfies never
  }
}

function nextReminder({ offer, now }: Situation): Step {
  const at = remindAt(offer, now)
  return now >= at ? { do: 'remind' } : { do: 'wait', until: at }
}

function nextDownload(task: Task, { downloading, connected, now, unsafe }: Situation): Step {
  if (downloading) return { do: 'wait' }
  if (task.attempts >= maxAttempts) return { do: 'giveUp' }
  if (task.retryAt !== undefined && now < task.retryAt) return { do: 'wait', until: task.retryAt }
  if (unsafe !== undefined) return { do: 'wait', until: now + minuteMs }
  // Nothing is fetched by a device that the server does not let in.
  return connected ? { do: 'download' } : { do: 'wait' }
}

function nextWindow(task: Task, situation: Situation): Step {
  const { policy } = task
  // It would be waited for for ever, or be left with half an installation.
  if (policy.window.length > 0 && longEnough(policy.window, situation.installMs).length === 0) {
    return { do: 'refuseWindow' }
  }
  return situation.unsafe === undefined && isWindowOpen(task, situation)
    ? { do: 'startInstall' }
    : task.state === 'waiting_window'
      ? { do: 'wait', until: situation.now + minuteMs }
      : { do: 'waitForWindow' }
}

function isWindowOpen(task: Task, situation: Situation): boolean {
  const { now, localMinutes, utcMinutes, installMs } = situation
  const window = longEnough(task.policy.window, installMs)
  if (window.length > 0 && !isInWindow(window, utcMinutes)) return false
  const quiet = longEnough(situation.quiet, installMs)
  if (quiet.length === 0 || task.accepted || isInWindow(quiet, localMinutes)) return true
  if (overrideOf({ ...situation, task })) return true
  const graceEnd = graceEndOf({ ...situation, task })
  return graceEnd !== undefined && now >= graceEnd
}

function nextBoot({ slot }: Task, { record, running, flushing, now }: Situation): Step {
  if (slot === undefined) return { do: 'install' }
  if (running === slot) return { do: 'startTest' }
  // The bootloader gave it up: its tries are spent or its bytes have changed.
  if (record.slots[slot]?.bootable !== true) return { do: 'reportRolledBack' }
  if (record.active !== slot) return { do: 'activate' }
  return flushing ? { do: 'wait', until: now + flushCheckMs } : { do: 'reboot' }
}

function nextTest(task: Task, situation: Situation): Step {
  const { record, running, healthy, now, commitLimitMs } = situation
  const { slot } = task
  if (slot === undefined || running !== slot) return { do: 'reportRolledBack' }
  // What ran well before this task stays: there is nothing to go back to.
  const isProven = record.slots[slot]?.successful === true
  if (!isProven && healthy === undefined) return { do: 'checkHealth' }
  if (!isProven && !healthy) return { do: 'rollBack', code: 'health' }
  if (task.commitNonce !== undefined) return { do: 'commit' }
  if (isProven) return { do: 'wait' }
  const limit = (task.testingSinceAt ?? now) + commitLimitMs
  return now >= limit ? { do: 'rollBack', code: 'no-commit' } : { do: 'wait', until: limit }
}

import type { Device } from './device.ts'
import type { Outcome } from './download.ts'
import type { Journal, Task } from './journal.ts'
import { moved, securityEvent } from './report.ts'

const retryBaseMs = 15_000

/** What the end of a download means for its task. */
export function downloaded(device: Device, task: Task, outcome: Outcome): Journal {
  const now = device.now()
  switch (outcome.done) {
    case 'whole':
      return (outcome.notes ?? []).reduce(
        (journal, detail) => securityEvent(journal, { kind: 'delivery-fallback', detail, now }),
        moved(device.journal, task, { state: 'verified', now }),
      )
    case 'stopped':
      return device.journal
    case 'failed': {
      const { code, detail, final } = outcome
      const attempts = task.attempts + 1
      const retryAt = now + retryBaseMs * 2 ** task.attempts
      const state = final ? 'failed_final' : 'failed'
      return moved(
        device.journal,
        { ...task, attempts, retryAt, code, detail },
        { state, code, detail, now },
      )
    }
    default:
      return outcome satisfies never
  }
}

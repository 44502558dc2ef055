import { z } from 'zod'

import type { Journal, Task } from './journal.ts'

const text = z.string().max(1_024)

/** What can be in it; the owner's own words first. */
export const ledgerActs = [
  'accept',
  'postpone',
  'optOut',
  'optIn',
  'monitorOff',
  'monitorOn',
  'decline',
  'quiet',
  'refused',
  'offered',
  'accepted',
  'reminded',
  'newAdvisory',
  'override',
  'succeeded',
  'rolled_back',
  'failed_final',
] as const

/** Who chose what and when, and which text was shown (updates.md 7.2). Times are milliseconds of the trusted time. */
export const LedgerEntry = z.strictObject({
  no: z.int().min(1),
  at: z.int().min(0),
  by: z.enum(['owner', 'device', 'operator']),
  act: z.enum(ledgerActs),
  deploymentId: z.string().max(64).optional(),
  version: text.optional(),
  class: z.enum(['security', 'feature', 'config']).optional(),
  advisory: text.optional(),
  /** Of the text that was shown. */
  textSha256: text.optional(),
  until: z.int().min(0).optional(),
  detail: text.optional(),
})
export type LedgerEntry = z.infer<typeof LedgerEntry>

const maxEntries = 400

export type LedgerNote = Pick<LedgerEntry, 'at' | 'by' | 'act'> & {
  task?: Task | undefined
  until?: number | undefined
  detail?: string | undefined
}

/**
 * The journal with one more entry, in the same write as what it is about. What the device did by itself is forgotten before
 * what the owner said; the numbers show that something is missing.
 */
export function noted(journal: Journal, { task, until, detail, ...note }: LedgerNote): Journal {
  const no = (journal.ledger.at(-1)?.no ?? 0) + 1
  const entry: LedgerEntry = {
    no,
    ...note,
    ...(task && aboutTask(task)),
    ...(until !== undefined && { until }),
    ...(detail !== undefined && { detail: detail.slice(0, 500) }),
  }
  const ledger = [...journal.ledger, entry]
  if (ledger.length > maxEntries) {
    const least = ledger.findIndex(({ by }) => by === 'device')
    ledger.splice(Math.max(least, 0), 1)
  }
  return { ...journal, ledger }
}

function aboutTask({ deploymentId, target, policy }: Task): Partial<LedgerEntry> {
  return {
    deploymentId,
    version: target.version,
    class: policy.class,
    ...(policy.advisory && { advisory: policy.advisory.id }),
    ...(policy.notice && { textSha256: policy.notice.sha256 }),
  }
}

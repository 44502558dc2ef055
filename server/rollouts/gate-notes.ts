import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { type GateFacts, judgePhase, unmetPart } from './gate.ts'
import type { Progress } from './progress.ts'
import { noteGate, type Rollout } from './store.ts'

/** What is written down about the gate of an open phase, so that the soak and a person's turn survive restarts. */
export interface Notes {
  no: number
  before: Pick<GateFacts, 'metAt' | 'heldAt'>
  metAt: Date | null
  heldAt: Date | null
  /** Why it is a person's turn now and was not before. */
  held?: 'contacts' | 'hold'
}

/**
 * Since when the gate is met (forgotten when it no longer is), and since when it is a person's turn, which stays. Undefined
 * when nothing is new. The last phase has no gate.
 */
export function notesOf(
  { phase_no }: Pick<Rollout, 'phase_no'>,
  { phases }: Progress,
  now: Date,
): Notes | undefined {
  const open = phases.find(({ no }) => no === phase_no)
  if (!open || open.no === phases.length) return undefined
  const { gate, verdicts, facts } = open
  const isTimed = (gate.soakMs ?? 0) > 0
  if (!isTimed && (gate.withinMs ?? null) === null) return undefined
  const known = { ...facts, now }
  const isMet = unmetPart(verdicts, gate, known) === undefined
  const metAt = isMet && isTimed ? (facts.metAt ?? now) : null
  const waitsFor = judgePhase(verdicts, gate, { ...known, metAt })
  const isHeld = waitsFor === 'contacts' || (isTimed && waitsFor === 'hold')
  const heldAt = facts.heldAt ?? (isHeld ? now : null)
  if (metAt?.getTime() === facts.metAt?.getTime() && heldAt === facts.heldAt) return undefined
  return {
    no: open.no,
    before: { metAt: facts.metAt, heldAt: facts.heldAt },
    metAt,
    heldAt,
    ...(heldAt !== facts.heldAt && { held: waitsFor === 'contacts' ? 'contacts' : 'hold' }),
  }
}

/** By compare-and-set: of several processes one writes them down. */
export async function takeNotes(
  { db, clock, log }: Pick<Context, 'db' | 'clock' | 'log'>,
  { id }: Pick<Rollout, 'id'>,
  notes: Notes | undefined,
): Promise<void> {
  if (!notes) return
  const { no, held } = notes
  const isFirst = await inTransaction(db, async (tx) => {
    const noted = await noteGate(tx, id, notes)
    if (noted && held) {
      const facts = { phase: no, for: held }
      const what = { action: 'rollout.hold', subject: id, facts }
      await recordAudit(tx, { at: clock.now(), actor: 'system', ...what })
    }
    return noted
  })
  if (isFirst && held)
    log.warn({ rolloutId: id, phase: no, for: held }, 'rollout waits for a person')
}

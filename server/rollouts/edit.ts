import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { assertVersion, type Versions } from '../version.ts'
import { countingApprovals } from './approval-store.ts'
import { approvalsNeeded, leastApprovals, lockSealed, readStored } from './approval.ts'
import { checkBounds } from './bounds-check.ts'
import type { SettingColumns } from './columns.ts'
import { canonicalJson, type Definition, definitionHash, definitionOf } from './definition.ts'
import { writeDefinition, writePhases } from './edit-store.ts'
import { mustBeInTime } from './start-time.ts'
import { nextRolloutState } from './state.ts'
import { getRollout, moveRollout, type NewPhase, type Rollout } from './store.ts'
import { checkWindowSettings } from './window-settings.ts'

export interface EditCommand {
  rolloutId: string
  actor: string
  requestId: string
  /** Of the definition that the caller saw, in hex: another one is not overwritten. */
  definitionHash?: string | undefined
  name?: string | undefined
  settings?: SettingColumns
  /** Hashes of definitions, one of which has to be in force. */
  ifMatch?: Versions | undefined
  /** All of them, or none to leave them as they are. */
  phases?: readonly NewPhase[] | undefined
  reason?: string | undefined
}

/**
 * Changes what a rollout does, as far as it was not done yet. Every word for the old definition is void: an approved rollout
 * is a draft again, and a running one that needs approvals pauses until somebody resumes what was approved anew. Devices at
 * work go on. The same again changes nothing.
 *
 * @throws DomainError `conflict` when the definition is not the one that was seen; `invalid-request` for what cannot be
 *   changed any more, and for fewer approvals; `illegal-transition` once it is over
 */
export async function editRollout(
  ctx: Pick<Context, 'db' | 'clock' | 'config'>,
  command: EditCommand,
): Promise<Rollout> {
  const { rolloutId, name, settings = {}, phases, actor, requestId, reason } = command
  const now = ctx.clock.now()
  return await inTransaction(ctx.db, async (tx) => {
    const before = await lockSealed(tx, rolloutId)
    const edited = nextRolloutState(before.state, 'edit')
    assertVersion(before.definition_hash?.toString('hex'), command.ifMatch)
    mustBeSeen(command, before)
    mustBeAllowed(before, command, now)
    await checkWindowSettings(tx, { releaseId: before.release_id, settings, now })
    const passQueue = settings.pass_queue === true
    await checkBounds(tx, { releaseId: before.release_id, phases: phases ?? [], passQueue })
    await checkWindowSettings(tx, { releaseId: before.release_id, settings, now })
    const old = definitionOf(await readStored(tx, before))
    const voided = await countingApprovals(tx, [rolloutId])
    await writeDefinition(tx, rolloutId, { ...settings, ...(name === undefined ? {} : { name }) })
    if (phases) await writePhases(tx, rolloutId, before.phase_no, phases)
    const stored = await readStored(tx, await getRollout(tx, rolloutId))
    const hash = definitionHash(stored)
    if (before.definition_hash?.equals(hash)) return before
    const changed = definitionOf(stored)
    mustKeepOpened(old, changed, before.phase_no)
    const least = await leastApprovals(tx, ctx)
    const needed = approvalsNeeded({ ...stored.rollout, edited_by: actor }, least)
    const pauses = before.state === 'running' && needed > 0
    const state = pauses ? nextRolloutState('running', 'pause') : edited
    const why = pauses ? { reason: 'It was edited: it has to be approved again' } : {}
    const set = { state, definition_hash: hash, edited_by: actor, ...why }
    const after = await moveRollout(tx, before, set, now)
    const facts = {
      from: before.state,
      to: state,
      definitionHash: hash.toString('hex'),
      changes: changesBetween(old, changed),
      voided: voided.map(({ approver }) => approver),
      ...(reason === undefined ? {} : { reason }),
    }
    const what = { action: 'rollout.edit', subject: rolloutId, facts }
    await recordAudit(tx, { at: now, actor, requestId, ...what })
    return after
  })
}

function mustBeSeen({ definitionHash: seen }: EditCommand, { id, definition_hash }: Rollout): void {
  const present = definition_hash?.toString('hex')
  if (seen === undefined || seen === present) return
  throw new DomainError('conflict', 'Somebody else edited it: look at it again', {
    rolloutId: id,
    definitionHash: present,
  })
}

function mustBeAllowed(before: Rollout, { settings = {}, phases }: EditCommand, now: Date): void {
  const refuse = (message: string, at: string) => {
    throw new DomainError('invalid-request', message, { rolloutId: before.id, at })
  }
  const { approvals_needed, start_at } = settings
  // Otherwise whoever edits would need nobody any more.
  if (approvals_needed !== undefined && approvals_needed < before.approvals_needed) {
    refuse('Approvals only become more: make a new rollout to ask for fewer', 'approvals')
  }
  if (phases && phases.length < before.phase_no) {
    refuse(`Phase ${before.phase_no} is open and cannot be taken away`, 'phases')
  }
  if (start_at === undefined) return
  if (before.phase_no > 0) refuse('It was started already', 'startAt')
  mustBeInTime(start_at, now)
}

/** Whom an open phase takes; what its gate asks for and how fast it goes may change. */
const extent = ['kind', 'percent', 'count', 'cohortId', 'seenWithinS'] as const

function mustKeepOpened(before: Definition, after: Definition, openNo: number): void {
  if (openNo === 0) return
  const refuse = (no: number, why: string) => {
    throw new DomainError('invalid-request', `Phase ${no} ${why}`, { at: `phases.${no - 1}` })
  }
  after.phases.forEach((phase, n) => {
    const old = before.phases[n]
    const no = n + 1
    const keepsExtent = old && extent.every((field) => phase[field] === old[field])
    if (no < openNo && canonicalJson(phase) !== canonicalJson(old)) {
      refuse(no, 'is over: it cannot be changed any more')
    }
    if (no === openNo && !keepsExtent) {
      refuse(no, 'is open: whom it takes cannot be changed any more')
    }
    // Who is in a cohort was written down at the start.
    if (phase['kind'] === 'cohort' && !keepsExtent) {
      refuse(no, 'would be a cohort, and those are fixed at the start: make a new rollout')
    }
  })
}

function changesBetween(before: Definition, after: Definition): Record<string, unknown> {
  const changed = Object.keys(after).filter((field) => {
    return canonicalJson(before[field]) !== canonicalJson(after[field])
  })
  return Object.fromEntries(
    changed.map((field) => [field, { before: before[field], after: after[field] }]),
  )
}

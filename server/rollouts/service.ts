import { randomBytes } from 'node:crypto'

import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { endCancelled } from '../deployments/end.ts'
import { DomainError } from '../errors.ts'
import { baseOf } from './abort-facts.ts'
import { approveRollout, leastApprovals, mustBeApproved } from './approval.ts'
import { checkBounds } from './bounds-check.ts'
import { assertTarget } from './certificates.ts'
import type { SettingColumns } from './columns.ts'
import { definitionHash } from './definition.ts'
import { judgePhase } from './gate.ts'
import { noProgress, type Progress, progressOf } from './progress.ts'
import { mustBeDue, mustBeInTime } from './start-time.ts'
import { nextRolloutState, type operatorActions } from './state.ts'
import {
  getRollout,
  groupExists,
  insertRollout,
  isPublished,
  moveRollout,
  notPublishedOf,
  type NewPhase,
  openPhase,
  releasesById,
  type Rollout,
  sealDefinition,
} from './store.ts'
import { isAboutGroups } from './targeting.ts'
import { checkWindowSettings } from './window-settings.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'config'>

interface By {
  actor: string
  requestId: string
}

export interface NewRolloutCommand extends By {
  id: string
  name: string
  /** Absent: the settings say what certificates are to become. */
  releaseId?: string | undefined
  /** Releases of other components that are installed together with it, or none of them. */
  with?: readonly string[]
  groupId: string
  phases: readonly NewPhase[]
  /** What the table's defaults do not say. */
  settings?: SettingColumns
}

/**
 * Creates a draft. Costs the same for a group of ten and of a million: devices are met later. Safe to repeat with the same
 * id. Throws `not-found` for an unknown release or group and `not-ready` for a release that is not published.
 */
export async function createRollout(
  { db, clock, config }: Deps,
  command: NewRolloutCommand,
): Promise<Rollout> {
  const { id, name, releaseId, with: along = [], groupId, phases, actor, requestId } = command
  const now = clock.now()
  const settings = withPolicy(command, await leastApprovals(db, { config }))
  mustBeInTime(settings.start_at, now)
  return await inTransaction(db, async (tx) => {
    const companions = await subjectOf(tx, command, now)
    if (!(await groupExists(tx, groupId))) {
      throw new DomainError('not-found', 'No such group', { groupId })
    }
    const subject = { releaseId: releaseId ?? null }
    await checkBounds(tx, { ...subject, phases, passQueue: settings.pass_queue === true })
    await checkWindowSettings(tx, { ...subject, settings, now })
    const row = {
      id,
      name,
      release_id: releaseId ?? null,
      group_id: groupId,
      seed: randomBytes(16),
      created_by: actor,
      created_at: now,
      changed_at: now,
      ...settings,
      names_groups: isAboutGroups(settings.query),
    }
    const stored = await insertRollout(tx, row, phases, companions)
    if (!stored) return await getRollout(tx, id)
    const hash = definitionHash({
      ...stored,
      companions: companions.map((one) => ({ release_id: one.id })),
    })
    const facts = {
      name,
      releaseId,
      with: along,
      groupId,
      extents: phases.map(({ percent, count, cohort_id }) => percent ?? count ?? cohort_id),
      ...settings,
      definitionHash: hash.toString('hex'),
    }
    const what = { action: 'rollout.create', subject: id, facts }
    await recordAudit(tx, { at: now, actor, requestId, ...what })
    return await sealDefinition(tx, id, hash)
  })
}

/** A draft that says nothing asks for what the server demands; one that asks for less is refused. */
function withPolicy({ settings = {}, actor }: NewRolloutCommand, least: number): SettingColumns {
  const asked = settings.approvals_needed
  if (actor === 'system' || least === 0) return settings
  if (asked !== undefined && asked < least) {
    throw new DomainError('invalid-request', `This server demands ${least} approvals or more`, {
      at: 'approvals',
      least,
    })
  }
  return { ...settings, approvals_needed: asked ?? least }
}

/** Checks what is given out, and answers what comes with it. */
async function subjectOf(
  db: Db,
  { releaseId, with: along = [], settings }: NewRolloutCommand,
  now: Date,
): Promise<{ id: string; component: string }[]> {
  if (releaseId === undefined) {
    await assertTarget(db, settings ?? {}, { now, isStart: false })
    return []
  }
  await mustBePublished(db, releaseId)
  return await companionsFor(db, releaseId, along)
}

export interface RolloutCommand extends By {
  rolloutId: string
  action: (typeof operatorActions)[number]
  reason?: string | undefined
  /** With `advance`: the phase that the caller saw open, so that a second click does not open one more. */
  phase?: number | undefined
  /** With `approve`: the definition that the caller saw, in hex. */
  definitionHash?: string | undefined
}

/**
 * The one way a person changes a rollout: check, move, record; all of it or none of it. `illegal-transition` when the
 * action is not open, `conflict` when somebody was quicker. From the commit of `pause` and `cancel` on no device is
 * admitted, in any process: admissions hold the rollout in `running` while they are written.
 */
export async function actOnRollout(
  ctx: Deps & Pick<Context, 'bus' | 'metrics' | 'log'>,
  command: RolloutCommand,
): Promise<Rollout> {
  const { rolloutId, action, actor, requestId, reason } = command
  if (action === 'approve') return await approveRollout(ctx, command)
  const now = ctx.clock.now()
  const after = await inTransaction(ctx.db, async (tx) => {
    const before = await getRollout(tx, rolloutId)
    const state = nextRolloutState(before.state, action)
    // Before its start there is nothing to count.
    const progress = before.phase_no === 0 ? noProgress : await progressOf(tx, before)
    const { set, facts } = await changesOf(tx, before, progress, { ...command, action }, ctx)
    const moved = await moveRollout(tx, before, { ...set, state }, now)
    if (moved.phase_no > before.phase_no) await openPhase(tx, rolloutId, moved.phase_no, now)
    await recordAudit(tx, {
      at: now,
      actor,
      action: `rollout.${action}`,
      subject: rolloutId,
      facts: { from: before.state, to: state, ...(reason ? { reason } : {}), ...facts },
      requestId,
    })
    return moved
  })
  // The first batch at once; the worker goes on.
  if (action === 'cancel') await endCancelled(ctx)
  return after
}

interface Changes {
  set: Partial<Rollout>
  facts: Record<string, unknown>
}

async function changesOf(
  db: Db,
  before: Rollout,
  progress: Progress,
  {
    action,
    reason,
    phase,
  }: RolloutCommand & { action: Exclude<RolloutCommand['action'], 'approve'> },
  policy: Pick<Context, 'config' | 'clock'>,
): Promise<Changes> {
  const now = policy.clock.now()
  // A person who starts or resumes has seen the failures so far: they do not stop it again.
  const base = async () => await baseOf(db, before, progress, now)
  switch (action) {
    case 'start':
      mustBeDue(before, now)
      await mustBeReady(db, before, now)
      return {
        set: { ...(await base()), phase_no: 1, started_at: now, reason: null },
        facts: {
          ...(await mustBeApproved(db, before, policy)),
          ...(before.start_at ? { startAt: before.start_at.toISOString() } : {}),
        },
      }
    case 'resume':
      await mustBeReady(db, before, now)
      return {
        set: { ...(await base()), reason: null },
        facts: { ...seenSoFar(progress), ...(await mustBeApproved(db, before, policy)) },
      }
    case 'pause':
      return { set: { reason: reason ?? null }, facts: {} }
    case 'cancel':
      return { set: { reason: reason ?? null, ended_at: now }, facts: {} }
    case 'advance':
      return advance(before, progress, phase)
    default:
      throw new DomainError('invalid-request', 'No such action', { action: action satisfies never })
  }
}

function seenSoFar({ all }: Progress): Changes['facts'] {
  return { base_succeeded: all.succeeded, base_failed: all.failed }
}

/** A person may open the next phase before its gate is met; the audit row says how things stood. */
function advance(before: Rollout, progress: Progress, seen: number | undefined): Changes {
  const { phase_no } = before
  if (seen !== undefined && seen !== phase_no) {
    throw new DomainError('conflict', `Phase ${phase_no} is open, not ${seen}`, { phase: phase_no })
  }
  const open = progress.phases.find((phase) => phase.no === phase_no)
  if (!open || phase_no >= progress.phases.length) {
    throw new DomainError('illegal-transition', 'The last phase is open', { phase: phase_no })
  }
  return {
    set: { phase_no: phase_no + 1 },
    facts: {
      phase: phase_no + 1,
      ...open.verdicts,
      waitedFor: judgePhase(open.verdicts, open.gate, open.facts),
    },
  }
}

async function mustBeReady(db: Db, rollout: Rollout, now: Date): Promise<void> {
  if (rollout.kind === 'certificate') await assertTarget(db, rollout, { now, isStart: true })
  const releaseId = await notPublishedOf(db, rollout.id)
  if (releaseId !== undefined) throw notPublished(releaseId)
}

/** Throws DomainError `invalid-request` for a set that no device could be given. */
async function companionsFor(
  db: Db,
  releaseId: string,
  along: readonly string[],
): Promise<{ id: string; component: string }[]> {
  if (along.length === 0) return []
  for (const id of along) await mustBePublished(db, id)
  const releases = await releasesById(db, [releaseId, ...along])
  const refuse = (message: string) => new DomainError('invalid-request', message, { at: 'with' })
  if (new Set(releases.map(({ model }) => model)).size > 1) {
    throw refuse('Releases of one rollout are of one model')
  }
  if (releases.length !== along.length + 1) throw refuse('A release is named twice')
  if (new Set(releases.map(({ component }) => component)).size !== releases.length) {
    throw refuse('A rollout gives out one release of each component')
  }
  return releases.filter(({ id }) => id !== releaseId)
}

async function mustBePublished(db: Db, releaseId: string) {
  const published = await isPublished(db, releaseId)
  if (published === undefined) throw new DomainError('not-found', 'No such release', { releaseId })
  if (!published) throw notPublished(releaseId)
}

function notPublished(releaseId: string): DomainError {
  const message = 'The release is not published: publish it first'
  return new DomainError('not-ready', message, { releaseId })
}

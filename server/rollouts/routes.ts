import { z } from 'zod'

import type { Context } from '../context.ts'
import type { Actor } from '../http/access.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { abortOf } from './abort.ts'
import { type Approval, countingApprovals } from './approval-store.ts'
import { getDefinition } from './approval.ts'
import { boundsOf, phaseBoundsOf } from './bounds-view.ts'
import { certificateColumns } from './certificates.ts'
import { phaseColumns, settingColumns } from './columns.ts'
import { editRollout } from './edit.ts'
import { gateTimes, gateView } from './gate-view.ts'
import { judgePhase } from './gate.ts'
import { DefinitionView } from './governance-wire.ts'
import { limitsView } from './limits.ts'
import { PreviewView } from './preview-wire.ts'
import { previewDefinition, previewRollout } from './preview.ts'
import { noProgress, type Progress, progressesOf } from './progress.ts'
import { requireDefined, requireRollout } from './reach.ts'
import { actOnRollout, createRollout } from './service.ts'
import { rolloutStates } from './state.ts'
import { companionsOf, getRollout, listRollouts, type Rollout } from './store.ts'
import { windowsOf } from './window-settings.ts'
import {
  ActionBody,
  EditBody,
  PreviewBody,
  RolloutBody,
  RolloutParams,
  RolloutView,
} from './wire.ts'

const by = (actor: Actor) => ({ actor: actor.id, requestId: actor.requestId })

export const rolloutRoutes = [
  route({
    method: 'get',
    path: '/rollouts',
    summary: 'Rollouts, newest first, with their counts',
    permission: 'rollouts:read',
    scope: 'devices',
    query: z.strictObject({
      ...PageQuery.shape,
      state: z.enum(rolloutStates).optional(),
      groupId: z.uuid().toLowerCase().optional(),
    }),
    response: Page(RolloutView),
    handle: async ({ ctx, reach, query: { limit, cursor, state, groupId } }) => {
      const rows = await listRollouts(ctx.db, { reach, state, groupId, before: cursor }, limit + 1)
      const view = await viewerOf(ctx, rows)
      return pageOf(rows, limit, view, (row) => row.id)
    },
  }),

  route({
    method: 'post',
    path: '/rollouts',
    summary: 'Draft a rollout of a published release to a group, in phases',
    permission: 'rollouts:write',
    scope: 'devices',
    refuses: ['not-found', 'not-ready'],
    status: 201,
    creates: true,
    body: RolloutBody,
    example: {
      name: 'Pumps of the north to 1.2.0',
      releaseId: '01890a5d-ac96-774b-bcce-b302099a8057',
      groupId: '01890a5d-ac96-774b-bcce-b302099a8058',
      phases: [{ percent: 10 }, { percent: 100 }],
    },
    response: RolloutView,
    handle: async ({ ctx, reach, body, actor, newId }) => {
      const { name, releaseId, with: along, groupId } = body
      const phases = phaseColumns(body.phases)
      requireDefined(reach, { groupId, phases, query: body.query })
      const command = {
        id: newId,
        name,
        releaseId,
        with: along,
        groupId,
        phases,
        settings: { ...settingColumns(body), ...certificateColumns(body) },
        ...by(actor),
      }
      const rollout = await createRollout(ctx, command)
      return await viewOf(ctx, rollout)
    },
  }),

  route({
    method: 'post',
    path: '/rollouts/preview',
    summary: 'How many devices each phase would reach, and why others would not be reached',
    permission: 'rollouts:read',
    scope: 'devices',
    refuses: ['not-found', 'not-ready'],
    costly: true,
    body: PreviewBody,
    response: PreviewView,
    handle: async ({ ctx, reach, body }) => {
      if ('rolloutId' in body) {
        await requireRollout(ctx.db, body.rolloutId, reach)
        return await previewRollout(ctx, body.rolloutId)
      }
      const phases = phaseColumns(body.phases)
      requireDefined(reach, { groupId: body.groupId, phases, query: body.query })
      const settings = settingColumns(body)
      return await previewDefinition(ctx, { ...body, companions: body.with, phases, settings })
    },
  }),

  route({
    method: 'get',
    path: '/rollouts/:rolloutId',
    summary: 'One rollout, with counts by state and phase',
    permission: 'rollouts:read',
    scope: 'devices',
    versioned: 'definitionHash',
    params: RolloutParams,
    response: RolloutView,
    handle: async ({ ctx, reach, params }) => {
      await requireRollout(ctx.db, params.rolloutId, reach)
      const rollout = await getRollout(ctx.db, params.rolloutId)
      return await viewOf(ctx, rollout)
    },
  }),

  route({
    method: 'patch',
    path: '/rollouts/:rolloutId',
    summary: 'Change what it does, as far as it was not done yet; voids its approvals',
    permission: 'rollouts:write',
    scope: 'devices',
    versioned: 'definitionHash',
    refuses: ['illegal-transition', 'not-ready'],
    params: RolloutParams,
    body: EditBody,
    response: RolloutView,
    handle: async ({ ctx, reach, params, body, actor, ifMatch }) => {
      await requireRollout(ctx.db, params.rolloutId, reach)
      const { name, definitionHash, reason } = body
      const phases = body.phases && phaseColumns(body.phases)
      requireDefined(reach, { phases })
      const rollout = await editRollout(ctx, {
        ...params,
        name,
        definitionHash,
        reason,
        phases,
        settings: settingColumns(body),
        ifMatch,
        ...by(actor),
      })
      return await viewOf(ctx, rollout)
    },
  }),

  route({
    method: 'get',
    path: '/rollouts/:rolloutId/definition',
    summary: 'What exactly is approved, and its hash',
    permission: 'rollouts:read',
    scope: 'devices',
    params: RolloutParams,
    response: DefinitionView,
    handle: async ({ ctx, reach, params }) => {
      await requireRollout(ctx.db, params.rolloutId, reach)
      return await getDefinition(ctx.db, params.rolloutId)
    },
  }),

  route({
    method: 'post',
    path: '/rollouts/:rolloutId/actions',
    summary: 'Approve, start, advance, pause, resume or cancel',
    permission: {
      action: {
        approve: 'rollouts:approve',
        start: 'rollouts:control',
        advance: 'rollouts:control',
        pause: 'rollouts:control',
        resume: 'rollouts:control',
        cancel: 'rollouts:control',
      },
    },
    scope: 'devices',
    refuses: ['illegal-transition', 'not-ready'],
    params: RolloutParams,
    body: ActionBody,
    response: RolloutView,
    handle: async ({ ctx, reach, params, body, actor }) => {
      const { rolloutId } = params
      await requireRollout(ctx.db, rolloutId, reach)
      const rollout = await actOnRollout(ctx, { rolloutId, ...body, ...by(actor) })
      return await viewOf(ctx, rollout)
    },
  }),
]

async function viewOf(ctx: Pick<Context, 'db' | 'clock'>, rollout: Rollout): Promise<RolloutView> {
  return (await viewerOf(ctx, [rollout]))(rollout)
}

/** How each of these rollouts is shown, from as few statements for many as for one. */
export async function viewerOf(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  rollouts: readonly Rollout[],
): Promise<(rollout: Rollout) => RolloutView> {
  const now = clock.now()
  const ids = rollouts.map((rollout) => rollout.id)
  const progresses = await progressesOf(db, ids)
  const along = await companionsOf(db, ids)
  const approvals = Map.groupBy(await countingApprovals(db, ids), (one) => one.rollout_id)
  return (rollout) => ({
    ...view(rollout, along, progresses.get(rollout.id)),
    ...windowsOf(rollout, now),
    approvals: approvalsView(rollout, approvals.get(rollout.id) ?? []),
  })
}

function view(
  rollout: Rollout,
  along: readonly { rollout_id: string; release_id: string }[],
  progress: Progress = noProgress,
): Omit<RolloutView, 'approvals' | 'window' | 'ignoreWindows'> {
  const { succeeded, failed } = progress.all
  return {
    id: rollout.id,
    name: rollout.name,
    releaseId: rollout.release_id,
    certificate:
      rollout.kind === 'certificate'
        ? {
            issuerId: rollout.certificate_issuer,
            issuedBefore: rollout.certificate_before?.toISOString() ?? null,
          }
        : null,
    with: along
      .filter(({ rollout_id }) => rollout_id === rollout.id)
      .map(({ release_id }) => release_id),
    groupId: rollout.group_id,
    query: rollout.query,
    ...boundsOf(rollout),
    state: rollout.state,
    phase: rollout.phase_no,
    reason: rollout.reason,
    abort: abortOf(rollout.abort_rules),
    limits: limitsView(rollout.limits),
    waitsFor: waitsFor(rollout, progress),
    phases: progress.phases.map(({ no, gate, facts, openedAt, counts, verdicts, ...phase }) => ({
      no,
      ...phaseBoundsOf(phase),
      success: {
        percent: gate.successPercent,
        minExecuted: gate.minExecuted,
        ...gateView(gate),
      },
      hold: gate.hold,
      openedAt: openedAt?.toISOString() ?? null,
      ...gateTimes(gate, facts),
      counts,
      executed: verdicts.succeeded + verdicts.failed,
      succeeded: verdicts.succeeded,
    })),
    counts: progress.counts,
    executed: succeeded + failed,
    succeeded,
    failed,
    definitionHash: rollout.definition_hash?.toString('hex') ?? null,
    editedBy: rollout.edited_by,
    kind: rollout.kind,
    parentId: rollout.parent_id,
    createdBy: rollout.created_by,
    createdAt: rollout.created_at.toISOString(),
    changedAt: rollout.changed_at.toISOString(),
    startAt: rollout.start_at?.toISOString() ?? null,
    startedAt: rollout.started_at?.toISOString() ?? null,
    endedAt: rollout.ended_at?.toISOString() ?? null,
  }
}

function approvalsView(
  { approvals_needed: needed }: Rollout,
  given: readonly Approval[],
): RolloutView['approvals'] {
  return {
    needed,
    missing: Math.max(0, needed - given.length),
    given: given.map(({ approver, at, reason }) => ({
      by: approver,
      at: at.toISOString(),
      reason,
    })),
  }
}

function waitsFor(rollout: Rollout, { phases }: Progress): RolloutView['waitsFor'] {
  if (rollout.state !== 'running') return null
  const open = phases.find((phase) => phase.no === rollout.phase_no)
  if (!open || open.no === phases.length) return 'devices'
  return judgePhase(open.verdicts, open.gate, open.facts)
}

import { z } from 'zod'

import { requireDevice } from '../devices/reach.ts'
import { DomainError } from '../errors.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { uuidPattern } from '../ids.ts'
import { requireRollout } from '../rollouts/reach.ts'
import { pastOf } from './device-history-store.ts'
import { choicesOf, deploymentsOf, type LedgerRow, type ListedDeployment } from './list-store.ts'
import { overrideRoutes } from './override-routes.ts'
import { PastDeploymentView } from './result-wire.ts'
import { getDeployment, historyOf } from './store.ts'
import {
  ChoiceView,
  DeploymentHistoryView,
  DeploymentParams,
  DeploymentView,
  DeviceParams,
  RolloutParams,
  stateFilter,
} from './wire.ts'

export const deploymentRoutes = [
  ...overrideRoutes,

  route({
    method: 'get',
    path: '/rollouts/:rolloutId/deployments',
    summary: 'The devices that a rollout met, and how far each is',
    permission: 'rollouts:read',
    scope: 'devices',
    params: RolloutParams,
    query: z.strictObject({ ...PageQuery.shape, ...stateFilter }),
    response: Page(DeploymentView),
    handle: async ({ ctx, reach, params, query: { limit, cursor, state } }) => {
      await requireRollout(ctx.db, params.rolloutId, reach)
      const after = cursorAs(cursor, uuidPattern)
      const rows = await deploymentsOf(ctx.db, params.rolloutId, { reach, state, after }, limit + 1)
      return pageOf(
        rows,
        limit,
        (row) => ({ ...view(row), serialNumber: row.serial_number }),
        (row) => row.id,
      )
    },
  }),

  route({
    method: 'get',
    path: '/deployments/:deploymentId',
    summary: 'One device and one release, with its history',
    permission: 'deployments:read',
    scope: 'devices',
    params: DeploymentParams,
    response: DeploymentHistoryView,
    handle: async ({ ctx, reach, params }) => {
      const row = await getDeployment(ctx.db, params.deploymentId, reach)
      const history = await historyOf(ctx.db, row.id)
      return {
        ...view(row),
        history: history.map((step) => ({
          from: step.from_state,
          to: step.to_state,
          by: step.actor,
          code: step.code,
          detail: step.detail,
          reportedAt: step.reported_at?.toISOString() ?? null,
          proof:
            step.proof !== null && step.proof_certificate !== null
              ? { jws: step.proof, certificate: step.proof_certificate }
              : null,
          at: step.at.toISOString(),
        })),
      }
    },
  }),

  route({
    method: 'get',
    path: '/devices/:deviceId/deployments',
    summary:
      'Everything that was ever given to a device, newest first, with what it said when something went wrong',
    permission: 'deployments:read',
    scope: 'devices',
    params: DeviceParams,
    query: PageQuery,
    response: Page(PastDeploymentView),
    handle: async ({ ctx, reach, params: { deviceId }, query: { limit, cursor } }) => {
      await requireDevice(ctx.db, deviceId, reach)
      const before = cursorAs(cursor, uuidPattern)
      const rows = await pastOf(ctx.db, { deviceId, reach }, before, limit + 1)
      return pageOf(
        rows,
        limit,
        (row) => ({
          ...view(row),
          rolloutName: row.rollout_name,
          version: row.version,
          said: row.said,
        }),
        (row) => row.id,
      )
    },
  }),

  route({
    method: 'get',
    path: '/devices/:deviceId/choices',
    summary: "The ledger of what a device's owner chose about updates",
    permission: 'deployments:read',
    scope: 'devices',
    params: DeviceParams,
    query: PageQuery,
    response: Page(ChoiceView),
    handle: async ({ ctx, reach, params, query: { limit, cursor } }) => {
      await requireDevice(ctx.db, params.deviceId, reach)
      const after = cursorAs(cursor, /^\d{1,15}$/)
      const seq = after === undefined ? undefined : Number(after)
      const rows = await choicesOf(ctx.db, params.deviceId, seq, limit + 1)
      return pageOf(rows, limit, viewChoice, (row) => String(row.seq))
    },
  }),
]

function cursorAs(cursor: string | undefined, form: RegExp): string | undefined {
  if (cursor === undefined || form.test(cursor)) return cursor
  throw new DomainError('invalid-request', 'The cursor is not one of this list')
}

function view(row: Omit<ListedDeployment, 'serial_number'>): Omit<DeploymentView, 'serialNumber'> {
  return {
    id: row.id,
    rolloutId: row.rollout_id,
    deviceId: row.device_id,
    releaseId: row.release_id,
    component: row.component,
    phase: row.phase_no,
    state: row.state,
    attempts: row.attempts,
    progress: row.progress,
    code: row.code,
    detail: row.detail,
    firstOfferedAt: row.first_offered_at?.toISOString() ?? null,
    postponedUntil: row.postponed_until?.toISOString() ?? null,
    postponements: row.postpone_count,
    createdAt: row.created_at.toISOString(),
    changedAt: row.changed_at.toISOString(),
  }
}

function viewChoice(row: LedgerRow): ChoiceView {
  return {
    deploymentId: row.deployment_id,
    choice: row.choice,
    until: row.until?.toISOString() ?? null,
    outcome: row.outcome,
    version: row.version,
    textSha256: row.text_sha256,
    chosenAt: row.chosen_at?.toISOString() ?? null,
    at: row.at.toISOString(),
  }
}

import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError, type ErrorCode } from '../errors.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import { stopIfFailing } from '../rollouts/drive.ts'
import type { Worker } from '../workers/worker.ts'
import { lockRenewals, lockRenewalsAfter, lockRenewing, type Renewal } from './certificate-store.ts'
import { certificateSteps } from './state.ts'
import { type Change, type Deployment, saveChanges } from './store.ts'
import { tellEnds } from './tell-ends.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>

/**
 * Moves the renewals of these devices on by what certificates they have and use. Nothing that a device says counts. Repeating it
 * changes nothing; any number of processes may do this at once.
 */
export async function followCertificates(ctx: Deps, deviceIds: readonly string[]): Promise<void> {
  if (deviceIds.length === 0) return
  await change(ctx, async (tx) => (await lockRenewals(tx, deviceIds)).flatMap(changeOf))
}

/** The devices were told to renew. */
export async function noteTold(ctx: Deps, deviceIds: readonly string[]): Promise<void> {
  if (deviceIds.length === 0) return
  await change(ctx, async (tx) => {
    const rows = await lockRenewing(tx, deviceIds)
    return rows
      .filter(({ state }) => state === 'queued')
      .map((row) => moved(row, ['accepted'], 'engine'))
  })
}

/** What a device can do nothing about is not its failure: it comes back. */
const refusals: ReadonlySet<ErrorCode> = new Set(['invalid-request', 'not-allowed'])

/**
 * A renewal was refused: the device that was told to renew failed, with the reason. Does nothing for a device that was not told, and
 * never throws: the refusal is what its caller has to answer.
 */
export async function noteRenewalRefused(
  ctx: Deps,
  deviceId: string,
  refusal: unknown,
): Promise<void> {
  if (!(refusal instanceof DomainError) || !refusals.has(refusal.code)) return
  const { code, message } = refusal
  try {
    await change(ctx, async (tx) => {
      const rows = await lockRenewing(tx, [deviceId])
      return rows.map((row) =>
        moved(row, ['failed_final'], 'engine', { code, detail: message.slice(0, 500) }),
      )
    })
  } catch (error) {
    ctx.log.warn({ err: error, deviceId }, 'a refused renewal was not counted')
  }
}

function changeOf(row: Renewal): Change[] {
  const steps = certificateSteps(row.state, row)
  if (steps.length === 0) return []
  const why =
    steps.at(-1) === 'failed_final'
      ? {
          code: 'other-issuer',
          detail: 'It renewed, and got something else than this rollout is for',
        }
      : undefined
  return [moved(row, steps, 'device', why)]
}

const untold = { code: null, detail: null } as const

function moved(
  row: Deployment,
  states: readonly DeploymentState[],
  actor: 'engine' | 'device',
  why: { code: string | null; detail: string | null } = untold,
): Change {
  const { isIssued: _i, isUsed: _u, isAstray: _a, ...before } = row as Deployment & Partial<Renewal>
  const state = states.at(-1) ?? before.state
  const steps = states.map((to_state, n) => ({
    from_state: states[n - 1] ?? before.state,
    to_state,
    actor,
    reported_at: null,
    ...why,
  }))
  return { before, after: { ...before, state, ...why }, steps }
}

async function change(ctx: Deps, find: (tx: Tx) => Promise<Change[]>): Promise<void> {
  const now = ctx.clock.now()
  const changes = await inTransaction(ctx.db, async (tx) => {
    const found = await find(tx)
    await saveChanges(tx, found, now)
    await tellEnds(tx, found, now)
    return found
  })
  for (const { after } of changes) ctx.metrics.deploymentsMoved.inc({ state: after.state })
  const failed = changes.filter(({ after }) => after.state === 'failed_final')
  await stopIfFailing(ctx, [...new Set(failed.map(({ after }) => after.rollout_id))])
}

const maxAnnounced = 10_000
const pageSize = 500
const sweepMs = 60_000
const beforeAll = '00000000-0000-0000-0000-000000000000'

/**
 * Looks at devices that were announced as changed, which an issued certificate and its first use are, and at all open renewals every
 * minute: what a lost announcement or a crash left out is made good there.
 */
export function certificateWorker(ctx: Deps & Pick<Context, 'bus'>): Worker {
  const announced = new Set<string>()
  let sweepAt = 0
  let after: string | undefined
  ctx.bus.subscribe('identity', (ids) => {
    for (const id of ids) if (announced.size < maxAnnounced) announced.add(id)
  })
  return {
    name: 'deployments.certificates',
    idleMs: 500,
    step: async () => {
      const ids = [...announced].slice(0, pageSize)
      for (const id of ids) announced.delete(id)
      await followCertificates(ctx, ids)
      const now = ctx.clock.now().getTime()
      if (after === undefined && now >= sweepAt) {
        sweepAt = now + sweepMs
        after = beforeAll
      }
      if (after !== undefined) after = await sweep(ctx, after)
      return announced.size > 0 || after !== undefined
    },
  }
}

/** The last one looked at; undefined when there are no more. */
async function sweep(ctx: Deps, after: string): Promise<string | undefined> {
  let last: string | undefined
  await change(ctx, async (tx) => {
    const rows = await lockRenewalsAfter(tx, after, pageSize)
    if (rows.length === pageSize) last = rows.at(-1)?.id
    return rows.flatMap(changeOf)
  })
  return last
}

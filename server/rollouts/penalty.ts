import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { wakeDevices } from '../deployments/wake.ts'
import { DomainError } from '../errors.ts'
import { meetDevices } from './meet.ts'
import { penaltyOf } from './penalty-box.ts'
import { failuresOf, rolledBackFrom, saveLift } from './penalty-store.ts'
import type { PenaltyView } from './penalty-wire.ts'

/** What keeps new offers from a device because of what it did (rollouts.md §7). `not-found` for no such device. */
export async function penaltyView(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  deviceId: string,
): Promise<PenaltyView> {
  const now = clock.now()
  const failures = await failuresOf(db, deviceId, now)
  if (!failures) throw new DomainError('not-found', 'No such device', { deviceId })
  const penalty = penaltyOf(failures, now)
  const builds = await rolledBackFrom(db, deviceId)
  return {
    until: penalty?.until.toISOString() ?? null,
    why: penalty?.why ?? null,
    rolledBackFrom: builds.map(({ release_id, component, version, build, at }) => ({
      releaseId: release_id,
      component,
      version,
      build,
      at: at.toISOString(),
    })),
  }
}

export interface LiftCommand {
  deviceId: string
  reason: string
  /** Also of builds that the device rolled back from. */
  rolledBack: boolean
  actor: string
  requestId: string
}

/** Forgives what a device did until now, and offers it at once what it may have. Safe to repeat. */
export async function liftPenalty(
  ctx: Pick<Context, 'config' | 'db' | 'clock' | 'metrics' | 'bus'>,
  { actor, requestId, ...lift }: LiftCommand,
): Promise<PenaltyView> {
  const { deviceId, reason, rolledBack } = lift
  const before = await penaltyView(ctx, deviceId)
  const at = ctx.clock.now()
  await inTransaction(ctx.db, async (tx) => {
    await saveLift(tx, { ...lift, at, by: actor })
    const facts = { reason, rolledBack, until: before.until, why: before.why }
    const entry = { at, actor, action: 'device.lift-penalty', subject: deviceId, facts, requestId }
    await recordAudit(tx, entry)
  })
  await wakeDevices(ctx, await meetDevices(ctx, [deviceId]))
  return await penaltyView(ctx, deviceId)
}

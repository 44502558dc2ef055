import type { Context } from '../context.ts'
import { nudgeSilent } from '../deployments/nudge.ts'
import { wakeDevices } from '../deployments/wake.ts'
import { sendRenewalHints } from '../enrollment/renewal-hint.ts'
import type { Worker } from '../workers/worker.ts'
import { admitWaiting, claimOrWait } from './admit-waiting.ts'
import { wantedRenewals } from './certificates.ts'
import { createLookLimit, driveRollouts } from './drive.ts'
import { wantedBy } from './meet.ts'
import { startDue } from './schedule.ts'
import { runningRollouts } from './store.ts'
import { WaitingRoom } from './waiting-room.ts'
import { windowTurns } from './window-turns.ts'
import { windowWorkers } from './window-workers.ts'
import { stopWithdrawn } from './withdrawn.ts'

/** Starts when it is time, opens phases, stops and completes; stops what a withdrawn release has left; and meets the devices that are connected here when a share opens. */
export function rolloutWorkers(ctx: Context): Worker[] {
  return [
    drivingWorker(ctx),
    { name: 'rollouts.withdrawn', idleMs: 500, step: async () => await stopWithdrawn(ctx) },
    { name: 'rollouts.schedule', idleMs: 1_000, step: async () => await startDue(ctx) },
    meetingWorker(ctx),
    ...windowWorkers(ctx),
  ]
}

function drivingWorker(ctx: Context): Worker {
  const mayLook = createLookLimit()
  return {
    name: 'rollouts.drive',
    idleMs: 500,
    step: async () => {
      await driveRollouts(ctx, mayLook)
      return false
    },
  }
}

const batchSize = 500
const maxRunning = 1_000
/** Every connected device is looked at again so often: what a lost message or a crash left out is made good here. */
const sweepMs = 60_000
const beforeAll = '00000000-0000-0000-0000-000000000000'

/**
 * Walks through this process's connected devices when a running rollout is new or has changed, and every minute. Which
 * (rollout, changed_at) were worked through is known to the process only: another process walks its own devices.
 *
 * The walk finds who is wanted by rollouts with bounds, and these wait; after it, and whenever there is room again, they are admitted in
 * the order of rollouts and buckets, not of the walk.
 */
export function meetingWorker(ctx: Context): Worker {
  let worked = new Map<string, number>()
  let walk: string[] = []
  let sweepAt = 0
  const room = new WaitingRoom()
  let hasCertificates = false
  const isTime = async () => {
    const running = await runningRollouts(ctx.db, beforeAll, maxRunning)
    hasCertificates = running.some(({ kind }) => kind === 'certificate')
    const now = ctx.clock.now().getTime()
    const isNew = running.some(({ id, changed_at }) => worked.get(id) !== changed_at.getTime())
    // Before the walk: what changes during it starts another one.
    worked = new Map(running.map(({ id, changed_at }) => [id, changed_at.getTime()]))
    room.keepOnly(new Set(worked.keys()))
    if (!isNew && now < sweepAt) return false
    sweepAt = now + sweepMs
    return isNew || running.length > 0
  }
  return {
    name: 'rollouts.meet',
    idleMs: 500,
    step: async () => {
      if (walk.length === 0) {
        const isNext = await isTime()
        const { met, renewing, more } = await admitWaiting(ctx, room)
        await wakeDevices(ctx, met)
        await sendRenewalHints(ctx, renewing)
        if (!isNext) return more
        walk = ctx.transport.connectedDevices()
      }
      const batch = walk.splice(0, batchSize)
      const wanted = await wantedBy(ctx, batch)
      for (const one of wanted) if (one.bounded) room.add(one.rolloutId, one.deviceId, one.bucket)
      const unbounded = wanted.filter((one) => !one.bounded)
      await wakeDevices(ctx, await claimOrWait(ctx, room, unbounded))
      const { turned, closed } = await windowTurns(ctx, batch)
      await wakeDevices(ctx, turned)
      await nudgeSilent(
        ctx,
        batch.filter((id) => !closed.has(id)),
      )
      if (hasCertificates) {
        await sendRenewalHints(ctx, batch)
        // Whom the bounds kept back is still wanted.
        for (const one of await wantedRenewals(ctx, batch))
          room.add(one.rolloutId, one.deviceId, one.bucket)
      }
      return walk.length > 0 || room.size > 0
    },
  }
}

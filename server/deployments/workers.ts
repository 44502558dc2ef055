import type { Context } from '../context.ts'
import type { Worker } from '../workers/worker.ts'
import { certificateWorker } from './certificates.ts'
import { endCancelled, endGone, endOverdue, endUnanswered, endWithdrawn } from './end.ts'

/** End what was cancelled or withdrawn, what belongs to devices that are gone, and what is past its limit. Safe in many processes. */
export function deploymentWorkers(ctx: Context): Worker[] {
  return [
    { name: 'deployments.cancelled', idleMs: 1_000, step: async () => await endCancelled(ctx) },
    { name: 'deployments.withdrawn', idleMs: 1_000, step: async () => await endWithdrawn(ctx) },
    goneWorker(ctx),
    certificateWorker(ctx),
    { name: 'deployments.unanswered', idleMs: 60_000, step: async () => await endUnanswered(ctx) },
    { name: 'deployments.overdue', idleMs: 5_000, step: async () => await endOverdue(ctx) },
  ]
}

const maxAnnounced = 10_000
const sweepMs = 60_000

/** Acts on devices that were announced as changed, and looks at all open deployments every minute. */
function goneWorker(ctx: Context): Worker {
  const announced = new Set<string>()
  let sweepAt = 0
  ctx.bus.subscribe('identity', (ids) => {
    for (const id of ids) if (announced.size < maxAnnounced) announced.add(id)
  })
  return {
    name: 'deployments.gone',
    idleMs: 1_000,
    step: async () => {
      const now = ctx.clock.now().getTime()
      if (now >= sweepAt) {
        if (await endGone(ctx, 'all')) return true
        sweepAt = now + sweepMs
        announced.clear()
        return false
      }
      const ids = [...announced]
      if (ids.length === 0) return false
      for (const id of ids) announced.delete(id)
      return await endGone(ctx, ids)
    },
  }
}

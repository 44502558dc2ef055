import type { Context } from '../context.ts'
import type { Worker } from '../workers/worker.ts'

/** Of every process: each has listeners of its own. */
export function ticketWorkers({ tickets }: Pick<Context, 'tickets'>): Worker[] {
  if (!tickets) return []
  const step = async () => {
    await tickets.look()
    return false
  }
  return [{ name: 'session-tickets', idleMs: 30_000, step }]
}

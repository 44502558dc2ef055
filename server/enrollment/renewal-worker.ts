import { overlapWorker } from '../certificates/overlap.ts'
import type { Context } from '../context.ts'
import type { Worker } from '../workers/worker.ts'
import { expiryWorkers } from './expiry.ts'
import { sendRenewalHints } from './renewal-hint.ts'

const idleMs = 900_000
const pageSize = 500

/**
 * Tells devices that stay connected when to renew: they say hello once, and rules and issuers change meanwhile. Each process tells
 * those connected to it; a hint that a device had already changes nothing there.
 */
export function renewalWorkers(
  ctx: Pick<
    Context,
    'config' | 'db' | 'clock' | 'transport' | 'bus' | 'log' | 'identities' | 'metrics'
  >,
): Worker[] {
  let waiting: string[] = []
  const step = async () => {
    if (waiting.length === 0) waiting = ctx.transport.connectedDevices()
    const page = waiting.slice(0, pageSize)
    waiting = waiting.slice(pageSize)
    await sendRenewalHints(ctx, page)
    return waiting.length > 0
  }
  return [{ name: 'renewal-hints', idleMs, step }, overlapWorker(ctx), ...expiryWorkers(ctx)]
}

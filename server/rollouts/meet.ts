import type { Context } from '../context.ts'
import { claimAdmissions } from './claim.ts'
import { chooseAdmissions } from './judge.ts'
import { candidatesFor } from './meet-store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'metrics'>

const batchSize = 500

/**
 * Decides for devices that are in contact now which running rollout each is part of (rollouts.md §4), and writes the
 * deployment. A device without anything new costs a share of one read; an admission, of at most ten statements a batch.
 * Repeating it changes nothing. Returns the devices that got a deployment now.
 *
 * Three steps: what could be offered (`meet-store.ts`, one read), what each device is to get of it (`judge.ts`, pure), and
 * what the rollouts' bounds let through (`claim.ts`, one transaction).
 */
export async function meetDevices(ctx: Deps, deviceIds: readonly string[]): Promise<string[]> {
  const met: string[] = []
  for (let at = 0; at < deviceIds.length; at += batchSize) {
    met.push(...(await meetBatch(ctx, deviceIds.slice(at, at + batchSize))))
  }
  return met
}

async function meetBatch(ctx: Deps, deviceIds: readonly string[]): Promise<string[]> {
  const admissions = chooseAdmissions(await candidatesFor(ctx.db, deviceIds))
  return await claimAdmissions(ctx, admissions)
}

import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import type { Wanted } from './bounds.ts'
import { claimAdmissions } from './claim.ts'
import { chooseAdmissions, type Given } from './judge.ts'
import { type Candidate, candidatesFor, stepsBelow } from './meet-store.ts'
import { targeted } from './targeting.ts'

type Deps = Pick<Context, 'config' | 'db' | 'clock' | 'metrics'>

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
  return await claimAdmissions(ctx, await wantedBy(ctx, deviceIds))
}

/** The first two steps, for a batch: what the devices are to get if there is room. Writes nothing. */
export async function wantedBy(
  ctx: Pick<Context, 'db' | 'clock'>,
  deviceIds: readonly string[],
): Promise<Wanted[]> {
  if (deviceIds.length === 0) return []
  const now = ctx.clock.now()
  const candidates = await candidatesFor(ctx.db, deviceIds, now)
  if (candidates.length === 0) return []
  return chooseAdmissions(candidates, await givenFor(ctx.db, candidates, now))
}

/** Reads what a decision about these candidates needs: nothing for most, one
 * read for all queries, and one for each release that takes a step to reach. */
export async function givenFor(
  db: Db,
  candidates: readonly Candidate[],
  now: Date,
): Promise<Given> {
  const steps = new Map<string, Awaited<ReturnType<typeof stepsBelow>>>()
  for (const candidate of candidates) {
    if (candidate.standing === null || steps.has(candidate.release_id)) continue
    steps.set(candidate.release_id, await stepsBelow(db, candidate))
  }
  return {
    now,
    matches: await targeted(db, candidates, now),
    stepsFor: ({ release_id }) => steps.get(release_id) ?? [],
  }
}

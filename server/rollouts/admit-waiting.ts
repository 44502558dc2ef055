import type { Context } from '../context.ts'
import { type Standing, standingsOf } from './bounds-store.ts'
import { type Overall, precedence, vacancies, type Wanted } from './bounds.ts'
import { wantedRenewals } from './certificates.ts'
import { claimInDetail } from './claim.ts'
import { wantedBy } from './meet.ts'
import type { WaitingRoom } from './waiting-room.ts'

type Deps = Pick<Context, 'config' | 'db' | 'clock' | 'metrics' | 'transport'>

const batchSize = 500
/** Where only the end of a deployment makes room, which nobody announces. */
const lookMs = 1_000
/** A rate may have no room for longer; then it is looked at again in between. */
const longestMs = 60_000

/** Claims what is wanted; who finds no room waits. Returns the devices that got a deployment. */
export async function claimOrWait(
  ctx: Deps,
  room: WaitingRoom,
  wanted: readonly Wanted[],
): Promise<string[]> {
  const { met, withheld } = await claimInDetail(ctx, wanted)
  const buckets = new Map(wanted.map((one) => [`${one.rolloutId} ${one.deviceId}`, one.bucket]))
  const now = ctx.clock.now()
  for (const { rolloutId, deviceId, reason, until } of withheld) {
    // For a phase that is full it waits for a change of the rollout, which is seen.
    if (reason === 'not-in-phase') continue
    room.add(rolloutId, deviceId, buckets.get(`${rolloutId} ${deviceId}`) ?? 1)
    room.postpone(rolloutId, waitUntil(until, now))
  }
  return met
}

/**
 * Gives the room that there is to the devices that wait for it: rollouts in their order, devices by bucket, so many as have room
 * and at most a batch. Nobody waiting costs nothing, and no room one read, once a second. Returns the devices that got an
 * update, those that are to renew their certificate, and whether there may be more to do at once.
 */
export async function admitWaiting(
  ctx: Deps,
  room: WaitingRoom,
): Promise<{ met: string[]; renewing: string[]; more: boolean }> {
  const now = ctx.clock.now()
  const due = room.due(now.getTime(), longestMs)
  if (due.length === 0) return { met: [], renewing: [], more: false }
  const { maxInFlight } = ctx.config
  const standings = await standingsOf(ctx.db, due, { now, maxInFlight })
  let all: Overall | undefined
  const taken: string[] = []
  for (const standing of [...standings.values()].toSorted(precedence)) {
    if (maxInFlight !== undefined) all ??= { maxInFlight, inFlight: standing.all_in_flight }
    const { free, until } = vacancies(standing, all, now)
    const ids = room.take(standing.id, Math.min(free, batchSize - taken.length))
    if (all) all.inFlight += ids.length
    taken.push(...ids)
    // Whoever is taken now may take all that is free.
    if (ids.length >= free) room.postpone(standing.id, waitUntil(until, now))
  }
  dropGone(room, due, standings)
  const here = [...new Set(taken)].filter((id) => ctx.transport.isConnected(id))
  const met = await claimOrWait(ctx, room, await wantedBy(ctx, here))
  const renewing = await claimOrWait(ctx, room, await wantedRenewals(ctx, here))
  return { met, renewing, more: taken.length > 0 }
}

function waitUntil(until: Date | null, now: Date): number {
  const nowMs = now.getTime()
  const ms = until === null ? nowMs + lookMs : until.getTime()
  return Math.min(Math.max(ms, nowMs), nowMs + longestMs)
}

/** One that is not running any more has nobody waiting. */
function dropGone(
  room: WaitingRoom,
  due: readonly string[],
  standings: ReadonlyMap<string, Standing>,
): void {
  for (const id of due) if (!standings.has(id)) room.take(id, Infinity)
}

import type { Context } from '../context.ts'
import type { Db, Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { loadDeviceFacts } from '../device-query/facts.ts'
import { matches } from '../device-query/match.ts'
import { parseDeviceQuery } from '../device-query/parse.ts'
import { asksForGroups, dependsOnTime, type DeviceQuery } from '../device-query/query.ts'
import { matchingSql } from '../device-query/sql.ts'
import { announceIdentityChange, recordIdentityChanges } from '../devices/identity-change.ts'
import { DomainError } from '../errors.ts'
import type { Worker } from '../workers/worker.ts'
import {
  claimDueGroup,
  countDynamicGroups,
  deleteMemberships,
  type DynamicGroup,
  dynamicMemberships,
  findMissing,
  findSurplus,
  finishEvaluation,
  holdAlone,
  holdDynamicGroups,
  insertMemberships,
} from './dynamic-store.ts'

/** Each costs every device that says something new a look. */
const mostDynamicGroups = 100

/** @throws DomainError `invalid-request`, with the column, for what is no query or asks for groups */
export function groupQuery(text: string): DeviceQuery {
  const query = parseDeviceQuery(text)
  if (asksForGroups(query)) {
    throw new DomainError('invalid-request', 'A group cannot be defined by other groups', {
      issues: [{ at: 'query', message: 'group is not available in the query of a group' }],
    })
  }
  return query
}

/** @throws DomainError `quota-exhausted` when there are as many groups with a query as there may be, besides this one */
export async function assertRoomForQuery(db: Db, groupId: string): Promise<void> {
  if ((await countDynamicGroups(db, groupId)) < mostDynamicGroups) return
  throw new DomainError(
    'quota-exhausted',
    `There are ${mostDynamicGroups} groups with a query already: remove one, or choose members by hand`,
    { limit: mostDynamicGroups },
  )
}

/**
 * Puts devices that said something new into the groups whose query finds them now, and takes them out of the others: in the
 * transaction that stores what they said, so that whoever is asked next (a rollout) sees both. One statement when there is no
 * such group, three when nothing changes. Returns the devices whose groups changed, to be announced after the commit.
 */
export async function regroup(tx: Tx, deviceIds: readonly string[], now: Date): Promise<string[]> {
  const groups = await holdDynamicGroups(tx)
  if (groups.length === 0 || deviceIds.length === 0) return []
  const facts = await loadDeviceFacts(tx, deviceIds)
  const before = await dynamicMemberships(tx, deviceIds)
  const wanted = groups.flatMap(({ id: groupId, query: text }) => {
    const query = parseDeviceQuery(text)
    return facts.map((device) => {
      const pair = { groupId, deviceId: device.id }
      return {
        ...pair,
        is: before.has(`${groupId} ${device.id}`),
        shall: matches(query, device, now),
      }
    })
  })
  const joining = wanted.filter(({ is, shall }) => shall && !is)
  await insertMemberships(tx, joining)
  const left = await deleteMemberships(
    tx,
    wanted.filter(({ is, shall }) => is && !shall),
  )
  const changed = [...new Set([...joining.map(({ deviceId }) => deviceId), ...left])]
  await recordIdentityChanges(tx, { deviceIds: changed, now })
  return changed
}

const batchSize = 1_000
const leaseMs = 60_000
/** A query with `lastSeen > 7d` finds other devices as time goes by; others are only looked at again in case something was missed. */
const everyMs = { time: 60_000, facts: 1_800_000 }
/** Of the time between two looks at all devices, one is at most this part. */
const share = 0.05

type Deps = Pick<Context, 'db' | 'clock' | 'bus'>

/** Looks at all devices for groups that are new, were changed, or are due. */
export function groupWorkers(ctx: Deps): Worker[] {
  return [
    {
      name: 'groups.evaluate',
      idleMs: 1_000,
      step: async (signal) => await evaluateNext(ctx, signal),
    },
  ]
}

/** Returns whether there was a group to look at. A process that dies leaves it to another after the lease. */
export async function evaluateNext(ctx: Deps, signal: AbortSignal): Promise<boolean> {
  const from = ctx.clock.now()
  const leaseUntil = new Date(from.getTime() + leaseMs)
  const group = await inTransaction(ctx.db, (tx) => claimDueGroup(tx, { now: from, leaseUntil }))
  if (!group) return false
  const query = parseDeviceQuery(group.query)
  while (!signal.aborted && (await evaluateSome(ctx, group, query)));
  if (signal.aborted) return false
  const now = ctx.clock.now()
  const usual = dependsOnTime(query) ? everyMs.time : everyMs.facts
  const pause = Math.max(usual, (now.getTime() - from.getTime()) / share)
  const again = new Date(now.getTime() + pause)
  await inTransaction(ctx.db, (tx) => finishEvaluation(tx, group, { now, again }))
  return true
}

/**
 * A batch of devices that join and one of devices that leave. They are found without a lock, which takes as long as it takes; then
 * looked at again under it, because a device may have said something new meanwhile. Returns whether there may be more.
 */
async function evaluateSome(ctx: Deps, group: DynamicGroup, query: DeviceQuery): Promise<boolean> {
  const now = ctx.clock.now()
  const condition = matchingSql(query, now, 'fleet')
  const limit = batchSize
  const missing = await findMissing(ctx.db, group.id, condition, { limit })
  const surplus = await findSurplus(ctx.db, group.id, condition, { limit })
  if (missing.length === 0 && surplus.length === 0) return false
  const changed = await inTransaction(ctx.db, async (tx) => {
    if (!(await holdAlone(tx, group))) return undefined
    const joining = await findMissing(tx, group.id, condition, { among: missing, limit })
    const leaving = await findSurplus(tx, group.id, condition, { among: surplus, limit })
    const pairs = (ids: readonly string[]) =>
      ids.map((deviceId) => ({ groupId: group.id, deviceId }))
    await insertMemberships(tx, pairs(joining))
    const left = await deleteMemberships(tx, pairs(leaving))
    const ids = [...new Set([...joining, ...left])]
    await recordIdentityChanges(tx, { deviceIds: ids, now })
    return ids
  })
  // Another query meanwhile: it is due by itself.
  if (!changed) return false
  await announceIdentityChange(ctx, changed)
  return missing.length === limit || surplus.length === limit
}

import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db, Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { announceIdentityChange, recordIdentityChanges } from '../devices/identity-change.ts'
import { DomainError } from '../errors.ts'
import { lockVersion, type Versions } from '../version.ts'
import { assertRoomForQuery, groupQuery } from './dynamic.ts'
import {
  deleteGroup,
  deleteMembers,
  deviceExists,
  findGroup,
  getGroup,
  type Group,
  insertGroup,
  insertMembers,
  isNameTaken,
  updateGroup,
  usesOfGroup,
} from './store.ts'

interface By {
  actor: string
  requestId: string
}
type Deps = Pick<Context, 'db' | 'clock'>

/** Makes a group. The same id again answers the group that was made; a name that is taken is a `conflict`. */
export async function createGroup(
  { db, clock }: Deps,
  command: By & { id: string; name: string; description: string; query?: string | null },
): Promise<Group> {
  const { id, name, description, query = null, actor, requestId } = command
  const now = clock.now()
  if (query !== null) groupQuery(query)
  return await inTransaction(db, async (tx) => {
    if (query !== null) await assertRoomForQuery(tx, id)
    const evaluate_at = query === null ? null : now
    if (await insertGroup(tx, { id, name, description, query, evaluate_at, created_at: now })) {
      const facts = { name, description, ...(query === null ? {} : { query }) }
      await recordAudit(tx, {
        at: now,
        actor,
        action: 'group.create',
        subject: id,
        facts,
        requestId,
      })
    }
    const group = await findGroup(tx, id, 'fleet')
    if (!group) throw nameTaken(name)
    return group
  })
}

export async function changeGroup(
  { db, clock }: Deps,
  command: By & {
    id: string
    changes: { name?: string; description?: string; query?: string }
    ifMatch?: Versions | undefined
  },
): Promise<Group> {
  const { id, changes, ifMatch, actor, requestId } = command
  const now = clock.now()
  if (changes.query !== undefined) groupQuery(changes.query)
  return await inTransaction(db, async (tx) => {
    await lockVersion(tx, { table: 'device_group', id }, ifMatch)
    const before = await getGroup(tx, id, 'fleet')
    if (changes.name !== undefined && (await isNameTaken(tx, changes.name, id))) {
      throw nameTaken(changes.name)
    }
    if (Object.keys(changes).length === 0) return before
    if (changes.query !== undefined && before.query === null) throw hasChosenMembers(id)
    const again = changes.query === undefined ? {} : { evaluate_at: now }
    await updateGroup(tx, id, { ...changes, ...again })
    const { name, description, query } = before
    const from = { name, description, ...(query === null ? {} : { query }) }
    const facts = { from, to: { ...from, ...changes } }
    await recordAudit(tx, { at: now, actor, action: 'group.change', subject: id, facts, requestId })
    return await getGroup(tx, id, 'fleet')
  })
}

/** Removes a group that nothing refers to: no devices (other than those that a query found), enrollment profiles, rollouts, incidents, or rights; else `conflict`. */
export async function removeGroup(
  { db, clock }: Deps,
  { id, ifMatch, actor, requestId }: By & { id: string; ifMatch?: Versions | undefined },
): Promise<void> {
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    await lockVersion(tx, { table: 'device_group', id }, ifMatch)
    const group = await getGroup(tx, id, 'fleet')
    const { devices, ...others } = await usesOfGroup(tx, id)
    const uses = group.query === null && devices ? { devices, ...others } : others
    if (Object.keys(uses).length > 0) {
      const list = Object.entries(uses).map(([kind, count]) => `${count} ${kind}`)
      throw new DomainError('conflict', `The group is in use by ${list.join(', ')}`, {
        usedBy: uses,
      })
    }
    if (!(await deleteGroup(tx, id))) return
    const facts = { name: group.name }
    await recordAudit(tx, { at: now, actor, action: 'group.delete', subject: id, facts, requestId })
  })
}

/** @throws DomainError `not-found`; `conflict` when the members are those that a query finds */
export async function assertTakesMembers(db: Db, groupId: string): Promise<void> {
  const { query } = await getGroup(db, groupId, 'fleet')
  if (query === null) return
  throw new DomainError(
    'conflict',
    'The members of this group are the devices that its query finds: change the query, or use another group',
    { groupId, query },
  )
}

/**
 * Puts devices that exist into a group, in the caller's transaction. Returns those that were not in it before; the caller
 * announces them after the commit (`announceIdentityChange`): the group may be cut off.
 */
export async function addMembers(
  tx: Tx,
  groupId: string,
  deviceIds: readonly string[],
  now: Date,
): Promise<string[]> {
  const added = await insertMembers(tx, groupId, deviceIds)
  if (added.length > 0) await recordIdentityChanges(tx, { deviceIds: added, now })
  return added
}

/** The reverse of `addMembers`. Returns those that were in the group. */
export async function removeMembers(
  tx: Tx,
  groupId: string,
  deviceIds: readonly string[],
  now: Date,
): Promise<string[]> {
  const removed = await deleteMembers(tx, groupId, deviceIds)
  if (removed.length > 0) await recordIdentityChanges(tx, { deviceIds: removed, now })
  return removed
}

/** Makes a device a member or not. Doing it again changes and records nothing. */
export async function setMembership(
  ctx: Pick<Context, 'db' | 'clock' | 'bus'>,
  command: By & { groupId: string; deviceId: string; member: boolean },
): Promise<void> {
  const { groupId, deviceId, member, actor, requestId } = command
  const now = ctx.clock.now()
  const changed = await inTransaction(ctx.db, async (tx) => {
    await assertTakesMembers(tx, groupId)
    if (!(await deviceExists(tx, deviceId))) {
      throw new DomainError('not-found', 'No such device', { deviceId })
    }
    const change = member ? addMembers : removeMembers
    const ids = await change(tx, groupId, [deviceId], now)
    if (ids.length > 0) {
      const action = member ? 'group.add-device' : 'group.remove-device'
      await recordAudit(tx, {
        at: now,
        actor,
        action,
        subject: groupId,
        facts: { deviceId },
        requestId,
      })
    }
    return ids
  })
  await announceIdentityChange(ctx, changed)
}

function hasChosenMembers(groupId: string): DomainError {
  return new DomainError(
    'conflict',
    'The members of this group are chosen by people: make another group for the query',
    { groupId },
  )
}

function nameTaken(name: string): DomainError {
  return new DomainError('conflict', `There is a group with the name ${name} already`, { name })
}

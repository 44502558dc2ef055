import { createHash } from 'node:crypto'

import { type Consent, noConsent, onlyUnasked } from '../approvals/agreed.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db, Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Actor } from '../http/access.ts'
import { accessLimits, principalPattern } from '../protocol/principal.ts'
import { assertVersion, type Versions } from '../version.ts'
import { mustHold } from './escalation.ts'
import { isBuiltIn, toGrants } from './grants.ts'
import {
  findRole,
  grantsHeld,
  groupsAmong,
  hasAdministrator,
  type HeldGrant,
  type Holder,
  listHolders,
  lockAccess,
  replaceGrants,
  type Role,
} from './store.ts'

export { lockAccess }

/** A role for somebody, for the devices that are in all of these groups; for the whole fleet, or what the role says, without any. */
export interface GivenGrant {
  role: string
  groupIds: readonly string[]
}

interface By {
  actor: string
  at: Date
  requestId?: string | undefined
  /** Of others, by policy (approvals/agreed.ts). */
  consent?: Consent | undefined
}

const unasked = onlyUnasked('role-change', 'give the rights with PUT /grants/PRINCIPAL')

/**
 * Makes these the rights of somebody (`key:ID`, `user:ID`, …), instead of those he had, and records it; nothing when he has them
 * already. Whether the caller may give them, and whether an administrator is left, is for the caller to ask (`mustHold`,
 * `assertAdministratorLeft`).
 *
 * @throws DomainError `invalid-request` for a role or a group that there is not, or more than anybody may have
 */
export async function setGrants(
  tx: Tx,
  principal: string,
  wanted: readonly GivenGrant[],
  { actor, at, requestId, consent = actor === 'system' ? noConsent : unasked }: By,
): Promise<void> {
  if (!principalPattern.test(principal)) throw new Error('not a principal')
  await lockAccess(tx)
  const grants = distinct(wanted)
  mustBeFew(grants)
  const before = await grantsHeld(tx, principal)
  const kept = new Map(before.map((row) => [keyOf(asGiven(row)), row]))
  if (grants.length === kept.size && grants.every((grant) => kept.has(keyOf(grant)))) return
  const had = before.flatMap((row) => row.group_ids)
  await mustBeGroups(
    tx,
    grants.flatMap(({ groupIds }) => groupIds),
    had,
  )
  const roles = [...(await rolesNamed(tx, grants)).values()]
  // Who agreed that somebody gets a role agreed to what it says now.
  const meaning = roles.map(({ name, permissions, group_ids: groupIds }) => ({
    name,
    permissions,
    groupIds,
  }))
  const agreed = await consent(tx, { had: before.map(asGiven), meaning })
  const rows = grants.map((grant, index): HeldGrant => {
    const { created_by, created_at } = kept.get(keyOf(grant)) ?? {
      created_by: actor,
      created_at: at,
    }
    const group_ids = [...grant.groupIds]
    return { principal, no: index + 1, role: grant.role, group_ids, created_by, created_at }
  })
  await replaceGrants(tx, principal, rows)
  await recordAudit(tx, {
    at,
    actor,
    action: 'grant.set',
    subject: principal,
    facts: { from: before.map(asGiven), to: grants, ...agreed },
    ...(requestId === undefined ? {} : { requestId }),
  })
}

/**
 * The same, by somebody for somebody: only what he has himself, and never the last administrator's.
 *
 * @throws DomainError `not-found`, `precondition-failed`, `not-allowed`, `conflict`, `invalid-request`
 */
export async function changeGrants(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  command: {
    principal: string
    grants: readonly GivenGrant[]
    /** What they have to be now (`grantsVersion`); whatever they are when undefined. */
    ifMatch?: Versions | undefined
    by: Actor
    consent?: Consent
  },
): Promise<Holder> {
  const { principal, grants, ifMatch, by, consent } = command
  const at = clock.now()
  return await inTransaction(db, async (tx) => {
    await lockAccess(tx)
    await getHolder(tx, principal, at)
    const held = (await grantsHeld(tx, principal)).map(asGiven)
    assertVersion(grantsVersion(held), ifMatch)
    const had = new Set(held.map(keyOf))
    const isNew = (grant: GivenGrant) => !had.has(keyOf(grant))
    await mustHoldGiven(tx, by, distinct(grants).filter(isNew))
    await setGrants(tx, principal, grants, { actor: by.id, at, requestId: by.requestId, consent })
    await assertAdministratorLeft(tx, at)
    return await getHolder(tx, principal, at)
  })
}

/**
 * Only what he has himself, for what is given along with a new key and the like.
 *
 * @throws DomainError `not-allowed`; `invalid-request` for a role that there is not
 */
export async function mustHoldGiven(
  db: Db,
  by: Pick<Actor, 'grants'>,
  grants: readonly GivenGrant[],
): Promise<void> {
  const own = await rolesNamed(db, grants)
  const stored = grants.map(({ role, groupIds }) => ({
    role,
    groups: [...groupIds],
    permissions: own.get(role)?.permissions ?? null,
    roleGroups: own.get(role)?.group_ids ?? null,
  }))
  mustHold(by, toGrants(stored))
}

/** @throws DomainError `not-found` */
export async function getHolder(db: Db, principal: string, now: Date): Promise<Holder> {
  const [holder] = await listHolders(db, now, { only: principal, limit: 1 })
  if (!holder) throw new DomainError('not-found', 'No such key, person or pipeline', { principal })
  return holder
}

/**
 * Somebody has to be able to say who may do what. Asked after the change, in its transaction; `lockAccess` (setGrants takes it) keeps
 * two of them from passing each other.
 *
 * @throws DomainError `conflict`
 */
export async function assertAdministratorLeft(tx: Tx, now: Date): Promise<void> {
  if (await hasAdministrator(tx, now)) return
  throw new DomainError(
    'conflict',
    'This is the last administrator: make another one first, or nobody could say any more who may do what',
  )
}

/** @throws DomainError `invalid-request` for groups that there are not, other than those that were named before */
export async function mustBeGroups(
  db: Db,
  ids: readonly string[],
  before: readonly string[] = [],
): Promise<void> {
  const named = [...new Set(ids)].filter((id) => !before.includes(id))
  if (named.length === 0) return
  const present = await groupsAmong(db, named)
  const missing = named.filter((id) => !present.has(id))
  if (missing.length === 0) return
  throw new DomainError('invalid-request', `There is no group ${missing[0]}`, {
    at: 'groupIds',
    missing,
  })
}

/** Which of these names are roles at present: for rights that come from elsewhere, where a role may be named that was removed. */
export async function rolesAmong(db: Db, names: readonly string[]): Promise<Set<string>> {
  const there = new Set<string>()
  for (const name of new Set(names)) {
    if (isBuiltIn(name) || (await findRole(db, name)) !== undefined) there.add(name)
  }
  return there
}

async function rolesNamed(db: Db, grants: readonly GivenGrant[]): Promise<Map<string, Role>> {
  const roles = new Map<string, Role>()
  for (const name of new Set(grants.map(({ role }) => role))) {
    if (isBuiltIn(name)) continue
    const role = await findRole(db, name)
    if (!role) {
      throw new DomainError(
        'invalid-request',
        `There is no role ${name.slice(0, 40)} (GET /roles shows those that there are)`,
        { at: 'role' },
      )
    }
    roles.set(name, role)
  }
  return roles
}

function mustBeFew(grants: readonly GivenGrant[]): void {
  const { grants: most, groups } = accessLimits
  if (grants.length <= most && grants.every(({ groupIds }) => groupIds.length <= groups)) return
  throw new DomainError(
    'invalid-request',
    `At most ${most} grants of ${groups} groups each: put what belongs together into a role`,
    { at: 'grants' },
  )
}

/** Names these rights, whatever their order: the same rights have the same version again. */
export function grantsVersion(grants: readonly GivenGrant[]): string {
  const keys = distinct(grants).map(keyOf).toSorted()
  return createHash('sha256').update(JSON.stringify(keys)).digest('hex').slice(0, 16)
}

function distinct(grants: readonly GivenGrant[]): GivenGrant[] {
  const sorted = grants.map(({ role, groupIds }) => ({
    role,
    groupIds: [...new Set(groupIds)].toSorted(),
  }))
  return [...new Map(sorted.map((grant) => [keyOf(grant), grant])).values()]
}

function asGiven({ role, group_ids }: HeldGrant): GivenGrant {
  return { role, groupIds: group_ids }
}

function keyOf({ role, groupIds }: GivenGrant): string {
  return `${role} ${groupIds.toSorted().join(' ')}`
}

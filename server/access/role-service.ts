import type { Consent } from '../approvals/agreed.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Actor } from '../http/access.ts'
import type { Permission } from '../protocol/permissions.ts'
import { accessLimits } from '../protocol/principal.ts'
import { assertVersion, type Versions } from '../version.ts'
import { mustHold } from './escalation.ts'
import { mustBeGroups } from './grant-service.ts'
import { grantOf, isBuiltIn } from './grants.ts'
import {
  deleteRole,
  findRole,
  holdersOf,
  insertRole,
  listRoles,
  lockAccess,
  type Role,
  updateRole,
} from './store.ts'

type Deps = Pick<Context, 'db' | 'clock'>

export interface RoleCommand {
  name: string
  description: string
  permissions: readonly Permission[]
  groupIds: readonly string[]
  /** What it has to be now; whatever it is when undefined. */
  ifMatch?: Versions | undefined
  by: Actor
  /** Of others, by policy. */
  consent: Consent
}

/**
 * Makes a role. The same name with the same contents again is the same role.
 *
 * @throws DomainError `conflict` when the name is taken; `not-allowed` for what its maker may not do himself
 */
export async function createRole({ db, clock }: Deps, command: RoleCommand): Promise<Role> {
  const { name, by, consent } = command
  const now = clock.now()
  if (isBuiltIn(name)) throw alwaysThere(name)
  const wanted = contentOf(command)
  mustHold(by, [grantOf(wanted)])
  return await inTransaction(db, async (tx) => {
    await lockAccess(tx)
    const present = await findRole(tx, name)
    if (present && isSame(present, wanted)) return present
    if (present) throw new DomainError('conflict', `There is a role ${name} already`, { name })
    if ((await listRoles(tx)).length >= accessLimits.roles) {
      throw new DomainError('quota-exhausted', `There are ${accessLimits.roles} roles: no more`)
    }
    await mustBeGroups(tx, wanted.group_ids)
    const agreed = await consent(tx, null)
    const role = { ...wanted, created_by: by.id, created_at: now, changed_at: now }
    const version = await insertRole(tx, role)
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: 'role.create',
      subject: name,
      facts: { ...factsOf(role), ...agreed },
      requestId: by.requestId,
    })
    return { ...role, version }
  })
}

/**
 * Changes what a role may do, for all who have it, from their next request on.
 *
 * @throws DomainError `not-found`; `precondition-failed`; `conflict` for a role that is always there; `not-allowed` for what its changer may not do himself
 */
export async function changeRole({ db, clock }: Deps, command: RoleCommand): Promise<Role> {
  const { name, ifMatch, by, consent } = command
  const now = clock.now()
  if (isBuiltIn(name)) throw alwaysThere(name)
  const wanted = contentOf(command)
  mustHold(by, [grantOf(wanted)])
  return await inTransaction(db, async (tx) => {
    await lockAccess(tx)
    const before = await getRole(tx, name)
    assertVersion(String(before.version), ifMatch)
    if (isSame(before, wanted)) return before
    await mustBeGroups(tx, wanted.group_ids, before.group_ids)
    const agreed = await consent(tx, factsOf(before))
    const version = await updateRole(tx, { ...wanted, changed_at: now })
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: 'role.change',
      subject: name,
      facts: { from: factsOf(before), to: factsOf(wanted), ...agreed },
      requestId: by.requestId,
    })
    return { ...before, ...wanted, changed_at: now, version }
  })
}

/** @throws DomainError `not-found`; `precondition-failed`; `conflict` while somebody has it, or when it is always there */
export async function removeRole(
  { db, clock }: Deps,
  {
    name,
    ifMatch,
    by,
    consent,
  }: { name: string; ifMatch?: Versions | undefined; by: Actor; consent: Consent },
): Promise<void> {
  const now = clock.now()
  if (isBuiltIn(name)) throw alwaysThere(name)
  await inTransaction(db, async (tx) => {
    await lockAccess(tx)
    const role = await getRole(tx, name)
    assertVersion(String(role.version), ifMatch)
    const holders = (await holdersOf(tx, [name])).get(name) ?? 0
    if (holders > 0) {
      throw new DomainError(
        'conflict',
        `${holders} have this role: take it from them first (GET /grants?role=${name})`,
        { name, holders },
      )
    }
    const agreed = await consent(tx, factsOf(role))
    await deleteRole(tx, name)
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: 'role.delete',
      subject: name,
      facts: { ...factsOf(role), ...agreed },
      requestId: by.requestId,
    })
  })
}

/** @throws DomainError `not-found` */
export async function getRole(db: Db, name: string): Promise<Role> {
  const role = await findRole(db, name)
  if (!role) throw notFound(name)
  return role
}

type Content = Pick<Role, 'name' | 'description' | 'permissions' | 'group_ids'>

function contentOf({ name, description, permissions, groupIds }: RoleCommand): Content {
  const sorted = (names: readonly string[]) => [...new Set(names)].toSorted()
  return { name, description, permissions: sorted(permissions), group_ids: sorted(groupIds) }
}

function isSame(present: Content, wanted: Content): boolean {
  return JSON.stringify(factsOf(present)) === JSON.stringify(factsOf(wanted))
}

function factsOf({ description, permissions, group_ids }: Content) {
  return { description, permissions, groupIds: group_ids }
}

function alwaysThere(name: string): DomainError {
  return new DomainError('conflict', `${name} is always there, as it is: make a role of your own`, {
    name,
  })
}

function notFound(name: string): DomainError {
  return new DomainError('not-found', 'No such role', { name })
}

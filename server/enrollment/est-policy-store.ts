import { isDeepStrictEqual } from 'node:util'

import { type Selectable, sql } from 'kysely'

import { isNotRenewing, isWanted, mayComeFrom } from '../db/certificate-target.ts'
import type { Db, Tx } from '../db/client.ts'
import type { EstPolicyTable } from '../db/schema.ts'
import { certificateComponent } from '../deployments/state.ts'
import { type DeploymentState, endedStates } from '../protocol/deployment.ts'

export type EstPolicyRow = Selectable<EstPolicyTable>
export type EstPolicyContent = Omit<EstPolicyRow, 'version'>

export async function findEstPolicy(db: Db, profileId: string): Promise<EstPolicyRow | undefined> {
  return await db
    .selectFrom('est_policy')
    .selectAll()
    .where('profile_id', '=', profileId)
    .executeTakeFirst()
}

export async function findEstPolicyOfDevice(
  db: Db,
  deviceId: string,
): Promise<EstPolicyRow | undefined> {
  return await db
    .selectFrom('est_policy')
    .innerJoin('device', 'device.enrollment_profile_id', 'est_policy.profile_id')
    .selectAll('est_policy')
    .where('device.id', '=', deviceId)
    .executeTakeFirst()
}

/** Returns false when it was like this already. */
export async function saveEstPolicy(tx: Tx, row: EstPolicyContent): Promise<boolean> {
  const before = await tx
    .selectFrom('est_policy')
    .selectAll()
    .where('profile_id', '=', row.profile_id)
    .forUpdate()
    .executeTakeFirst()
  const { profile_id: _, ...columns } = row
  if (before) {
    const { version: __, ...content } = { ...before, changed_at: row.changed_at }
    if (isDeepStrictEqual(content, row)) return false
  }
  await tx
    .insertInto('est_policy')
    .values(row)
    .onConflict((oc) => oc.column('profile_id').doUpdateSet(columns))
    .execute()
  return true
}

export interface RenewableRow {
  device_id: string
  fingerprint: string
  not_before: Date
  not_after: Date
  created_at: Date
  enrollment_profile_id: string | null
  /** When an issuer took over from this certificate's own; null while that is the active one, or a rollout decides who changes. */
  issuer_replaced_at: Date | null
  /** Its place in a rollout of certificates. */
  renewal: {
    state: DeploymentState
    isRunning: boolean
    /** Was the certificate there when the device was admitted? Else it is what came of it, and not to be renewed again. */
    isDue: boolean
  } | null
  /** A running rollout of certificates could tell it to renew. */
  isTurnPossible: boolean
}

const ended = sql.join(endedStates.map((state) => sql.lit(state)))

const renewal = sql<RenewableRow['renewal']>`(
  select jsonb_build_object('state', deployment.state, 'isRunning', rollout.state = 'running',
    'isDue', certificate.created_at <= deployment.created_at)
  from deployment join rollout on rollout.id = deployment.rollout_id
  where deployment.device_id = device.id and deployment.component = ${sql.lit(certificateComponent)}
    and deployment.state not in (${ended}))`

const isTurnPossible = sql<boolean>`exists (
  select from rollout join device_group_member member on member.group_id = rollout.group_id
  where member.device_id = device.id and rollout.kind = 'certificate' and rollout.state = 'running'
    and not ${isWanted('certificate')} and ${mayComeFrom()} and ${isNotRenewing()})`

function renewables(db: Db) {
  return db
    .selectFrom('certificate')
    .innerJoin('device', 'device.id', 'certificate.device_id')
    .innerJoin('authority', 'authority.id', 'certificate.authority_id')
    .select([
      'device.id as device_id',
      sql<string>`certificate.fingerprint`.as('fingerprint'),
      'certificate.not_before',
      'certificate.not_after',
      'certificate.created_at',
      'device.enrollment_profile_id',
      sql<Date | null>`case when authority.state = 'active' then null else (
        select max(successor.changed_at) from authority successor
        where successor.purpose = authority.purpose and successor.series = authority.series
          and successor.state = 'active'
          and not exists (select from rollout
            join device_group_member member on member.group_id = rollout.group_id and member.device_id = device.id
            where rollout.kind = 'certificate' and rollout.certificate_issuer = successor.id
              and rollout.state in ('draft', 'approved', 'running', 'paused'))) end`.as(
        'issuer_replaced_at',
      ),
      renewal.as('renewal'),
      isTurnPossible.as('isTurnPossible'),
    ])
    .where('certificate.kind', '=', 'device')
    .where('certificate.state', '=', 'issued')
}

export async function findRenewable(
  db: Db,
  fingerprint: string,
): Promise<RenewableRow | undefined> {
  return await renewables(db).where('certificate.fingerprint', '=', fingerprint).executeTakeFirst()
}

/** The certificates these devices use: not those that were renewed and are not used yet. */
export async function listRenewables(
  db: Db,
  deviceIds: readonly string[],
): Promise<RenewableRow[]> {
  return await renewables(db)
    .where('certificate.device_id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .where(
      sql<boolean>`not exists (select from certificate replaced
        where replaced.id = certificate.replaces_id and replaced.state = 'issued')`,
    )
    .execute()
}

export async function listEstPolicies(
  db: Db,
  profileIds: readonly string[],
): Promise<EstPolicyRow[]> {
  return await db
    .selectFrom('est_policy')
    .selectAll()
    .where('profile_id', '=', sql<string>`any(${[...profileIds]}::uuid[])`)
    .execute()
}

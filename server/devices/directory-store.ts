import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import type { CertificateTable } from '../db/schema.ts'
import type { DeviceState } from './state.ts'

export interface DeviceStatus {
  device_id: string
  device_state: DeviceState
  group_disabled: boolean
}

export interface CertificateStatus extends DeviceStatus {
  id: string
  fingerprint: string
  state: CertificateTable['state']
  not_after: Date
  replaces_id: string | null
  /** The certificate that this one replaces still counts. */
  replaces_live: boolean
}

const isGroupDisabled = sql<boolean>`exists (
  select from device_group_member member
  join incident on incident.group_id = member.group_id and incident.closed_at is null
  where member.device_id = device.id)`.as('group_disabled')

function certificates(db: Db) {
  return db
    .selectFrom('certificate')
    .innerJoin('device', 'device.id', 'certificate.device_id')
    .select([
      'certificate.id',
      sql<string>`certificate.fingerprint`.as('fingerprint'),
      'certificate.state',
      'certificate.not_after',
      'certificate.replaces_id',
      'device.id as device_id',
      'device.state as device_state',
      isGroupDisabled,
      sql<boolean>`exists (select from certificate replaced
        where replaced.id = certificate.replaces_id
          and 'issued' in (replaced.state, replaced.held_state))`.as('replaces_live'),
    ])
    .where('certificate.kind', '=', 'device')
    .where('certificate.fingerprint', 'is not', null)
}

export async function findStatus(
  db: Db,
  fingerprint: string,
): Promise<CertificateStatus | undefined> {
  return await certificates(db)
    .where('certificate.fingerprint', '=', fingerprint)
    .executeTakeFirst()
}

/** All certificates of these devices. */
export async function listStatuses(
  db: Db,
  deviceIds: readonly string[],
): Promise<CertificateStatus[]> {
  return await certificates(db)
    .where('certificate.device_id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .execute()
}

/** A page, by id, of the certificates that devices may connect with. */
export async function listUsable(
  db: Db,
  { now, after, limit }: { now: Date; after: string | undefined; limit: number },
): Promise<CertificateStatus[]> {
  let query = certificates(db)
    .where('certificate.state', '=', 'issued')
    .where('certificate.not_after', '>', now)
  if (after !== undefined) query = query.where('certificate.id', '>', after)
  return await query.orderBy('certificate.id').limit(limit).execute()
}

export async function listDeviceStatuses(
  db: Db,
  deviceIds: readonly string[],
): Promise<DeviceStatus[]> {
  return await db
    .selectFrom('device')
    .select(['device.id as device_id', 'device.state as device_state', isGroupDisabled])
    .where('device.id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .execute()
}

/** Which of these devices are members of any of these groups. */
export async function listMembersAmong(
  db: Db,
  groupIds: readonly string[],
  deviceIds: readonly string[],
): Promise<string[]> {
  const rows = await db
    .selectFrom('device_group_member')
    .select('device_id')
    .distinct()
    .where('group_id', '=', sql<string>`any(${[...groupIds]}::uuid[])`)
    .where('device_id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .execute()
  return rows.map((row) => row.device_id)
}

import { type RawBuilder, type Selectable, type SqlBool, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { isManaged } from '../db/managed.ts'
import { withinReach } from '../db/reach.ts'
import type { DeviceTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { Reach } from '../protocol/reach.ts'
import type { DeviceState } from './state.ts'

export interface DeviceDetails extends Selectable<DeviceTable> {
  connected: boolean | null
  last_seen_at: Date | null
  certificate_id: string | null
  certificate_state: string | null
  certificate_serial: Buffer | null
  certificate_fingerprint: string | null
  certificate_not_before: Date | null
  certificate_not_after: Date | null
  group_ids: string[]
  is_managed: boolean
  has_token: boolean
}

/** A device with its presence, its newest certificate and its groups: one statement whatever the number of rows. */
function devices(db: Db) {
  return db
    .selectFrom('device')
    .leftJoin('device_presence', 'device_presence.device_id', 'device.id')
    .leftJoinLateral(
      (eb) =>
        eb
          .selectFrom('certificate')
          .select(['id', 'state', 'serial', 'fingerprint', 'not_before', 'not_after'])
          .whereRef('certificate.device_id', '=', 'device.id')
          .where('certificate.der', 'is not', null)
          .orderBy('certificate.created_at', 'desc')
          .limit(1)
          .as('newest'),
      (join) => join.onTrue(),
    )
    .selectAll('device')
    .select([
      isManaged().as('is_managed'),
      sql<boolean>`exists (select from ddi_token where ddi_token.device_id = device.id)`.as(
        'has_token',
      ),
      'device_presence.connected',
      'device_presence.last_seen_at',
      'newest.id as certificate_id',
      'newest.state as certificate_state',
      'newest.serial as certificate_serial',
      'newest.fingerprint as certificate_fingerprint',
      'newest.not_before as certificate_not_before',
      'newest.not_after as certificate_not_after',
      sql<string[]>`array(select member.group_id::text from device_group_member member
        where member.device_id = device.id order by 1)`.as('group_ids'),
    ])
}

export async function findDevice(
  db: Db,
  id: string,
  reach: Reach,
): Promise<DeviceDetails | undefined> {
  return await devices(db)
    .where('device.id', '=', id)
    .where(withinReach('device.id', reach))
    .executeTakeFirst()
}

export async function getDevice(db: Db, id: string, reach: Reach): Promise<DeviceDetails> {
  const row = await findDevice(db, id, reach)
  if (!row) throw new DomainError('not-found', 'No such device', { deviceId: id })
  return row
}

export interface DeviceFilter {
  reach: Reach
  /** A piece of the name or serial number. */
  text?: string | undefined
  /** A condition on `device`. */
  matching?: RawBuilder<SqlBool> | undefined
  groupId?: string | undefined
  state?: DeviceState | undefined
  connected?: boolean | undefined
  before?: string | undefined
  limit: number
}

/** Newest first. `before` is the id of the last one seen. */
export async function listDevices(db: Db, filter: DeviceFilter): Promise<DeviceDetails[]> {
  const { reach, text, matching, groupId, state, connected, before, limit } = filter
  let query = devices(db).where(withinReach('device.id', reach))
  if (matching !== undefined) query = query.where(matching)
  if (state !== undefined) query = query.where('device.state', '=', state)
  if (before !== undefined) query = query.where('device.id', '<', before)
  if (groupId !== undefined) {
    query = query.where('device.id', 'in', (eb) =>
      eb.selectFrom('device_group_member').select('device_id').where('group_id', '=', groupId),
    )
  }
  if (connected !== undefined) {
    query = query.where((eb) => eb(eb.fn.coalesce('connected', sql.lit(false)), '=', connected))
  }
  if (text !== undefined) {
    const pattern = `%${text.replaceAll(/[\\%_]/g, String.raw`\$&`)}%`
    query = query.where((eb) =>
      eb.or([eb('device.name', 'ilike', pattern), eb('device.serial_number', 'ilike', pattern)]),
    )
  }
  return await query.orderBy('device.id', 'desc').limit(limit).execute()
}

/** Returns false when the id or the serial number is taken. */
export async function insertRegistered(
  tx: Tx,
  row: { id: string; name: string; serial_number: string; now: Date },
): Promise<boolean> {
  const { now, ...rest } = row
  const inserted = await tx
    .insertInto('device')
    .values({
      ...rest,
      state: 'registered',
      model: null,
      agent: null,
      enrollment_profile_id: null,
      created_at: now,
      changed_at: now,
    })
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

export async function findIdBySerial(
  db: Db,
  serialNumber: string,
  reach: Reach,
): Promise<string | undefined> {
  const row = await db
    .selectFrom('device')
    .select('id')
    .where('serial_number', '=', serialNumber)
    .where(withinReach('device.id', reach))
    .executeTakeFirst()
  return row?.id
}

/** The newest thing that a device said it refused, by the time we heard of it; looked for since `after`. */
export async function findLastRefusal(
  db: Db,
  deviceId: string,
  after: string,
): Promise<{ facts: unknown; at: Date } | undefined> {
  return await db
    .selectFrom('security_event')
    .select(['facts', 'at'])
    .where('device_id', '=', deviceId)
    .where('kind', '=', 'update-refused')
    .where('source', '=', 'device')
    .where('id', '>', after)
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst()
}

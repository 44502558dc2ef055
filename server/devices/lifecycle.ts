import { type Selectable, sql } from 'kysely'

import type { Tx } from '../db/client.ts'
import type { DeviceTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import { type DeviceAction, type DeviceState, nextDeviceState } from './state.ts'

export type LockedDevice = Pick<
  Selectable<DeviceTable>,
  'id' | 'name' | 'serial_number' | 'state' | 'enrollment_profile_id'
>

const columns = ['id', 'name', 'serial_number', 'state', 'enrollment_profile_id'] as const

/** Locks the record until the end of the transaction: what is decided on it stays true. */
export async function lockDevice(
  tx: Tx,
  by: { id: string } | { serialNumber: string },
): Promise<LockedDevice | undefined> {
  const query = tx.selectFrom('device').select(columns).forUpdate()
  return await (
    'id' in by ? query.where('id', '=', by.id) : query.where('serial_number', '=', by.serialNumber)
  ).executeTakeFirst()
}

/** Those of the devices that exist, locked in the order of their ids. */
export async function lockDevices(
  tx: Tx,
  by: { ids: readonly string[] } | { serialNumbers: readonly string[] },
): Promise<LockedDevice[]> {
  const query = tx.selectFrom('device').select(columns).orderBy('id').forUpdate()
  return await (
    'ids' in by
      ? query.where('id', '=', sql<string>`any(${[...by.ids]}::uuid[])`)
      : query.where('serial_number', '=', sql<string>`any(${[...by.serialNumbers]}::text[])`)
  ).execute()
}

/** `insertMetDevice` for many. Returns the ids of those whose serial number was not taken. */
export async function insertMetDevices(
  tx: Tx,
  rows: readonly { id: string; serialNumber: string; profileId: string }[],
  now: Date,
): Promise<Set<string>> {
  if (rows.length === 0) return new Set()
  // In one order everywhere: two processes that meet the same devices must not wait for each other in turn.
  const sorted = rows.toSorted((a, b) => (a.serialNumber < b.serialNumber ? -1 : 1))
  const inserted = await sql<{ id: string }>`insert into device
      (id, name, serial_number, state, enrollment_profile_id, created_at, changed_at)
    select id, serial_number, serial_number, 'registered', profile_id, ${now}, ${now}
    from unnest(${sorted.map(({ id }) => id)}::uuid[], ${sorted.map((row) => row.serialNumber)}::text[],
      ${sorted.map((row) => row.profileId)}::uuid[]) as one (id, serial_number, profile_id)
    on conflict do nothing returning id`.execute(tx)
  return new Set(inserted.rows.map(({ id }) => id))
}

/** The first certificates of devices that the caller has locked as registered are issued with this. */
export async function activateDevices(tx: Tx, ids: readonly string[], now: Date): Promise<void> {
  const state = nextDeviceState('registered', 'enroll')
  const { rows } = await sql`update device set state = ${state}, changed_at = ${now}
    where id = any(${[...ids]}::uuid[]) and state = 'registered' returning id`.execute(tx)
  if (rows.length !== ids.length) throw new DomainError('conflict', 'A device changed meanwhile')
}

/** The record of a device that is met for the first time. Undefined when the serial number is taken. */
export async function insertMetDevice(
  tx: Tx,
  row: { id: string; serialNumber: string; profileId: string; now: Date },
): Promise<LockedDevice | undefined> {
  return await tx
    .insertInto('device')
    .values({
      id: row.id,
      name: row.serialNumber,
      serial_number: row.serialNumber,
      state: 'registered',
      model: null,
      agent: null,
      enrollment_profile_id: row.profileId,
      created_at: row.now,
      changed_at: row.now,
    })
    .onConflict((oc) => oc.doNothing())
    .returning(columns)
    .executeTakeFirst()
}

/** From now on the device's certificates follow the rules of this profile. */
export async function assignProfile(tx: Tx, deviceId: string, profileId: string): Promise<void> {
  await assignProfiles(tx, [deviceId], profileId)
}

export async function assignProfiles(
  tx: Tx,
  deviceIds: readonly string[],
  profileId: string,
): Promise<void> {
  await tx
    .updateTable('device')
    .set({ enrollment_profile_id: profileId })
    .where('id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .execute()
}

/**
 * Moves a device that the caller has locked. Returns its state after.
 *
 * @throws DomainError `illegal-transition`, or `conflict` when it was not locked and changed meanwhile
 */
export async function moveDevice(
  tx: Tx,
  device: { id: string; state: DeviceState },
  action: DeviceAction,
  now: Date,
): Promise<DeviceState> {
  const next = nextDeviceState(device.state, action)
  const row = await tx
    .updateTable('device')
    .set({ state: next, changed_at: now })
    .where('id', '=', device.id)
    .where('state', '=', device.state)
    .returning('id')
    .executeTakeFirst()
  if (!row) {
    throw new DomainError('conflict', 'The device changed meanwhile', {
      deviceId: device.id,
      expected: device.state,
    })
  }
  return next
}

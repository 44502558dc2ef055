import type { Selectable } from 'kysely'

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
  await tx
    .updateTable('device')
    .set({ enrollment_profile_id: profileId })
    .where('id', '=', deviceId)
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

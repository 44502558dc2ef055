import { sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { withinReach } from '../db/reach.ts'
import type { Reach } from '../protocol/reach.ts'

export interface Registration {
  id: string
  serialNumber: string
  /** For people. */
  name: string
}

/**
 * Makes the records of devices that will enroll in a profile, in one statement whatever their number.
 *
 * @returns serial numbers of those that were made; the others were taken
 */
export async function registerMany(
  tx: Tx,
  profileId: string,
  devices: readonly Registration[],
  now: Date,
): Promise<string[]> {
  if (devices.length === 0) return []
  const rows = await tx
    .insertInto('device')
    .columns([
      'id',
      'serial_number',
      'name',
      'state',
      'enrollment_profile_id',
      'created_at',
      'changed_at',
    ])
    .expression((eb) =>
      eb
        .selectFrom(
          sql<{ id: string; serial_number: string; name: string }>`unnest(
            ${devices.map(({ id }) => id)}::uuid[],
            ${devices.map(({ serialNumber }) => serialNumber)}::text[],
            ${devices.map(({ name }) => name)}::text[])`.as<'given'>(
            sql`given (id, serial_number, name)`,
          ),
        )
        .select([
          'given.id',
          'given.serial_number',
          'given.name',
          sql<'registered'>`'registered'`.as('state'),
          sql<string>`${profileId}::uuid`.as('profile_id'),
          sql<Date>`${now.toISOString()}::timestamptz`.as('created_at'),
          sql<Date>`${now.toISOString()}::timestamptz`.as('changed_at'),
        ]),
    )
    .onConflict((oc) => oc.doNothing())
    .returning('serial_number')
    .execute()
  return rows.map((row) => row.serial_number)
}

/** Of these serial numbers, those that belong to a device, and whether it may still enroll in the profile. What others registered is elsewhere. */
export async function findTaken(
  db: Db,
  { profileId, reach }: { profileId: string; reach: Reach },
  serialNumbers: readonly string[],
): Promise<Map<string, 'registered' | 'enrolled' | 'elsewhere'>> {
  if (serialNumbers.length === 0) return new Map()
  const rows = await db
    .selectFrom('device')
    .select(['serial_number', 'state', 'enrollment_profile_id'])
    .select(withinReach('device.id', reach).as('is_within'))
    .where(sql<boolean>`serial_number = any(${[...serialNumbers]}::text[])`)
    .execute()
  return new Map(
    rows.map((row) => {
      const { state, enrollment_profile_id: of, is_within: isWithin } = row
      // One that was registered without a profile may enroll in any.
      if (state === 'registered' && ((of === null && isWithin) || of === profileId)) {
        return [row.serial_number, 'registered']
      }
      return [row.serial_number, of === profileId ? 'enrolled' : 'elsewhere']
    }),
  )
}

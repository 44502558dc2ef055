import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import type { Reach } from '../protocol/reach.ts'
import { isDeviceWithin } from './reach-store.ts'

/**
 * For whoever is limited to groups, a device outside them is one that does not exist. Free for the whole fleet: what comes after says itself
 * what it says of a device that does not exist. First thing in a route: then there is nothing that differs.
 *
 * @throws DomainError `not-found`
 */
export async function requireDevice(db: Db, deviceId: string, reach: Reach): Promise<void> {
  if (reach === 'fleet' || (await isDeviceWithin(db, deviceId, reach))) return
  throw noSuchDevice(deviceId)
}

export function noSuchDevice(deviceId: string): DomainError {
  return new DomainError('not-found', 'No such device', { deviceId })
}

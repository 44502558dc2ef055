import type { Csr } from '../../pki/csr/parse.ts'
import { spkiHash } from '../certificates/intent.ts'
import { assertNotTooOften } from '../certificates/service.ts'
import type { Tx } from '../db/client.ts'
import {
  assignProfile,
  insertMetDevice,
  type LockedDevice,
  lockDevice,
} from '../devices/lifecycle.ts'
import { DomainError } from '../errors.ts'
import { recordEvents } from '../events/record.ts'
import { newId } from '../ids.ts'
import { isLimited } from './enroll-rules.ts'
import { isMember } from './reach-store.ts'
import { hasHeldCertificate, isKeyRevoked, lockIssuedCertificates } from './replace-store.ts'
import type { Profile, Token } from './store.ts'

export interface Resolved {
  device: LockedDevice
  /** The certificate the new one is to replace, for a device that enrolls again. */
  replacesId?: string
}

/**
 * The record of the device that a request is for, locked; made at first contact where the profile allows it.
 *
 * @throws DomainError `not-allowed`, `rate-limited`, `busy`
 */
export async function resolveDevice(
  tx: Tx,
  profile: Profile,
  { serialNumber, ...asking }: { serialNumber: string; csr: Csr; token: Token; now: Date },
): Promise<Resolved> {
  const known = await lockDevice(tx, { serialNumber })
  if (known) return await admitKnown(tx, profile, { device: known, ...asking })
  if (profile.registration !== 'just-in-time') {
    throw new DomainError('not-allowed', 'This device is not registered')
  }
  const row = { id: newId(asking.now), serialNumber, profileId: profile.id, now: asking.now }
  const made = await insertMetDevice(tx, row)
  if (made) return { device: made }
  // Somebody else met it at the same moment: by now that is committed.
  const met = await lockDevice(tx, { serialNumber })
  if (!met) throw new DomainError('busy', 'Another request of this device is being worked on')
  return await admitKnown(tx, profile, { device: met, ...asking })
}

interface Known {
  device: LockedDevice
  csr: Csr
  token: Token
  now: Date
}

async function admitKnown(tx: Tx, profile: Profile, known: Known): Promise<Resolved> {
  const { device, token } = known
  const isOfProfile = [null, profile.id].includes(device.enrollment_profile_id)
  if (!isOfProfile) throw notWelcome()
  if (isLimited({ profile, token }) && !(await isOwn(tx, profile, device))) throw notWelcome()
  switch (device.state) {
    case 'registered':
      await assignProfile(tx, device.id, profile.id)
      return { device }
    case 'active':
      return await replace(tx, profile, known)
    case 'disabled':
    case 'revoked':
    case 'retired':
      throw notWelcome()
    default:
      throw notWelcome()
  }
}

/** With what was made by somebody who is limited to groups nobody gets at a device of others. */
async function isOwn(tx: Tx, profile: Profile, device: LockedDevice): Promise<boolean> {
  const isRegisteredHere =
    device.state === 'registered' && device.enrollment_profile_id === profile.id
  return isRegisteredHere || (await isMember(tx, profile.group_id, device.id))
}

/** A device that lost its certificate, or somebody who says so: hence off by default, limited, and an event each time. */
async function replace(tx: Tx, profile: Profile, { device, csr, now }: Known): Promise<Resolved> {
  if (profile.replaceable === 'off') throw notWelcome()
  const issued = await lockIssuedCertificates(tx, device.id)
  // The oldest: what was issued after it replaces it too, and ends when another such one is issued.
  const [current] = issued
  const isSameKey = issued.some((one) => one.spki_sha256.equals(spkiHash(csr.spki)))
  if (profile.replaceable !== 'on' && !isSameKey) {
    throw new DomainError('not-allowed', 'This device enrolls again only with the key it has')
  }
  if (await hasHeldCertificate(tx, device.id)) {
    throw new DomainError(
      'not-allowed',
      'A certificate of this device is on hold: an operator has to release or revoke it first',
    )
  }
  if (await isKeyRevoked(tx, device.id, spkiHash(csr.spki))) {
    throw new DomainError('not-allowed', 'This key was revoked: make a new one')
  }
  await assertNotTooOften(tx, device.id, now)
  await assignProfile(tx, device.id, profile.id)
  const facts = { profile: profile.name, replaces: current?.id ?? null }
  const event = { source: 'server', kind: 'device-enrolled-again', severity: 'warning' } as const
  await recordEvents(tx, now, [{ ...event, deviceId: device.id, facts }])
  return { device, ...(current ? { replacesId: current.id } : {}) }
}

/** One answer for an active device (it renews with its certificate), a disabled and a revoked one, and one of another profile. */
function notWelcome(): DomainError {
  return new DomainError('not-allowed', 'This device is enrolled already, or cut off')
}

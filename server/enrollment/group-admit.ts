import { type CertificateRow, spkiHash } from '../certificates/intent.ts'
import {
  certifiedKeys,
  devicesWithCertificates,
  insertFirstPending,
  seenRequestKeys,
} from '../certificates/intents.ts'
import type { Tx } from '../db/client.ts'
import {
  assignProfiles,
  insertMetDevices,
  type LockedDevice,
  lockDevices,
} from '../devices/lifecycle.ts'
import { DomainError } from '../errors.ts'
import { addMembers } from '../groups/service.ts'
import { newId } from '../ids.ts'
import { cutOffAmong } from '../incidents/cut-off.ts'
import {
  assertMayAsk,
  assertProfileOpen,
  assertTokenOpen,
  type EnrollRequest,
  isApproved,
  isLimited,
  usedThisHour,
} from './enroll-rules.ts'
import { firstIntent } from './first-intent.ts'
import { lockProfiles, lockTokens, takeManyQuotas, takeManyUses } from './group-store.ts'
import type { IssueDeps } from './issue.ts'
import { assertNamesMatch } from './request.ts'
import type { Profile, Token } from './store.ts'

export interface Admitted {
  request: EnrollRequest
  intent: CertificateRow
}

interface Candidate {
  request: EnrollRequest
  /** The record of a device that is known. */
  known: LockedDevice | undefined
  deviceId: string
  intent: CertificateRow
}

/**
 * What `enroll` does for one device, for the plain first enrollments of many in a constant number of statements: locks in the
 * same order, all looks before all writes. Whatever is not plain (a repeated request, a refusal, a device that enrolls again) is
 * left out here and taken on its own by the caller. The requests differ in key, device and request key.
 *
 * @returns those that were admitted, with their stored intents
 */
export async function admitGroup(
  tx: Tx,
  ctx: IssueDeps,
  requests: readonly EnrollRequest[],
): Promise<Admitted[]> {
  const tokens = await lockTokens(tx, unique(requests.map(({ token }) => token.id)))
  const seen = await seenRequestKeys(
    tx,
    requests.map(({ requestKey }) => requestKey),
  )
  const profiles = await lockProfiles(tx, unique(requests.map(({ profile }) => profile.id)))
  const fresh = requests.filter((one) => isPlain(one) && !seen.has(one.requestKey.toString('hex')))
  const candidates = await findCandidates(tx, ctx, fresh)
  const places = new Places(tokens, profiles, ctx.clock.now())
  const placed = candidates.filter(({ request }) => places.take(request))
  return await store(tx, placed, ctx.clock.now())
}

/** Of a kind that is decided here; also false for what the rules refuse, which `enroll` says better. */
function isPlain(request: EnrollRequest): boolean {
  return isApproved(request) && passes(() => assertMayAsk(request, request.names.serialNumber))
}

function passes(check: () => void): boolean {
  try {
    check()
    return true
  } catch (error) {
    if (error instanceof DomainError) return false
    throw error
  }
}

async function findCandidates(
  tx: Tx,
  ctx: IssueDeps,
  requests: readonly EnrollRequest[],
): Promise<Candidate[]> {
  if (requests.length === 0) return []
  const devices = await lockDevices(tx, {
    serialNumbers: requests.map(({ names }) => names.serialNumber),
  })
  const bySerial = new Map(devices.map((device) => [device.serial_number, device]))
  const deviceIds = devices.map(({ id }) => id)
  const begun = await devicesWithCertificates(tx, deviceIds)
  const taken = await certifiedKeys(
    tx,
    requests.map(({ csr }) => csr.spki),
  )
  const groupIds = unique(requests.map(({ profile }) => profile.group_id))
  const cutOff = await cutOffAmong(tx, { deviceIds, groupIds })
  return requests.flatMap((request) => {
    const known = bySerial.get(request.names.serialNumber)
    const isTaken = taken.has(spkiHash(request.csr.spki).toString('hex'))
    const isCutOff = cutOff.has(request.profile.group_id) || (known && cutOff.has(known.id))
    const isLookedUp = known && (begun.has(known.id) || isLimited(request))
    if (isTaken || isCutOff || isLookedUp) return []
    return candidateOf(ctx, request, known)
  })
}

function candidateOf(
  ctx: IssueDeps,
  request: EnrollRequest,
  known: LockedDevice | undefined,
): Candidate[] {
  const { profile, csr, names } = request
  const now = ctx.clock.now()
  if (known ? !isExpected(known, profile) : profile.registration !== 'just-in-time') return []
  const { serialNumber } = names
  const deviceId = known?.id ?? newId(now)
  const device = known ?? { id: deviceId, name: serialNumber, serial_number: serialNumber }
  try {
    assertNamesMatch(csr, names, device)
    const intent = firstIntent(ctx, request, { device, now })
    return [{ request, known, deviceId, intent }]
  } catch (error) {
    if (error instanceof DomainError) return []
    throw error
  }
}

/** Registered before, and not in another profile. */
function isExpected(device: LockedDevice, profile: Profile): boolean {
  const isOfProfile = [null, profile.id].includes(device.enrollment_profile_id)
  return device.state === 'registered' && isOfProfile
}

/** What is left of tokens and profiles whose rows are locked: nobody else takes any meanwhile. */
class Places {
  readonly #tokens: ReadonlyMap<string, Token>
  readonly #profiles: ReadonlyMap<string, Profile>
  readonly #now: Date

  constructor(
    tokens: ReadonlyMap<string, Token>,
    profiles: ReadonlyMap<string, Profile>,
    now: Date,
  ) {
    this.#tokens = tokens
    this.#profiles = profiles
    this.#now = now
  }

  /** Takes one use and one of the quota when there is one of each. */
  take({ token, profile }: EnrollRequest): boolean {
    const [open, line] = [this.#tokens.get(token.id), this.#profiles.get(profile.id)]
    if (!open || !line) return false
    const isOpen = passes(() => {
      assertTokenOpen(open, this.#now)
      assertProfileOpen(line, this.#now)
    })
    if (!isOpen) return false
    // Rows of our own, read under the lock.
    open.uses += 1
    line.used += 1
    line.hour_used = usedThisHour(line, this.#now) + 1
    if (line.hour_used === 1) line.hour_began_at = this.#now
    return true
  }
}

async function store(tx: Tx, placed: readonly Candidate[], now: Date): Promise<Admitted[]> {
  const met = placed.filter(({ known }) => !known)
  const made = await insertMetDevices(
    tx,
    met.map(({ deviceId, request: { names, profile } }) => ({
      id: deviceId,
      serialNumber: names.serialNumber,
      profileId: profile.id,
    })),
    now,
  )
  // Of the others somebody else made the record in the last moment.
  const kept = placed.filter(({ known, deviceId }) => known !== undefined || made.has(deviceId))
  if (kept.length === 0) return []
  const joining = kept.filter(({ known }) => known?.enrollment_profile_id === null)
  for (const [profileId, devices] of Map.groupBy(joining, ({ request }) => request.profile.id)) {
    await assignProfiles(tx, idsOf(devices), profileId)
  }
  for (const [groupId, members] of Map.groupBy(kept, ({ request }) => request.profile.group_id)) {
    await addMembers(tx, groupId, idsOf(members), now)
  }
  await insertFirstPending(
    tx,
    kept.map(({ intent }) => intent),
  )
  await takeManyUses(
    tx,
    countBy(kept, ({ request }) => request.token.id),
  )
  await takeManyQuotas(
    tx,
    countBy(kept, ({ request }) => request.profile.id),
    now,
  )
  return kept.map(({ request, intent }) => ({ request, intent }))
}

function idsOf(candidates: readonly Candidate[]): string[] {
  return candidates.map(({ deviceId }) => deviceId)
}

function unique(ids: readonly string[]): string[] {
  return [...new Set(ids)]
}

function countBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, number> {
  return new Map([...Map.groupBy(items, keyOf)].map(([key, found]) => [key, found.length]))
}

import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { certificateComponent } from '../deployments/state.ts'
import { DomainError } from '../errors.ts'
import type { Wanted } from './bounds.ts'
import { bucketOf, phasesFor } from './bucket.ts'
import {
  findDeviceIssuer,
  type RenewalCandidate,
  renewalCandidates,
  someoneToRenew,
} from './certificate-store.ts'
import { claimAdmissions } from './claim.ts'
import { targeted, targetedSql } from './targeting.ts'
import type { RolloutBody } from './wire.ts'

type Deps = Pick<Context, 'config' | 'db' | 'clock' | 'metrics'>

/**
 * Gives devices that are in contact their place in a rollout of certificates, within the rollout's phases and bounds. Returns the devices
 * that are to renew now. Asked only about devices that a running rollout could be about, so it costs nothing for the others.
 */
export async function admitRenewals(ctx: Deps, deviceIds: readonly string[]): Promise<string[]> {
  return await claimAdmissions(ctx, await wantedRenewals(ctx, deviceIds))
}

/** What `admitRenewals` would claim; writes nothing. */
export async function wantedRenewals(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  deviceIds: readonly string[],
): Promise<Wanted[]> {
  if (deviceIds.length === 0) return []
  const now = clock.now()
  const candidates = await renewalCandidates(db, deviceIds)
  const matches = await targeted(db, candidates, now)
  return chooseRenewals(candidates.filter(matches), now)
}

/** Is there somebody left whom the rollout could tell to renew? */
export async function isSomeoneToRenew(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { id, query }: { id: string; query: string | null },
): Promise<boolean> {
  const now = clock.now()
  return await someoneToRenew(db, id, now, targetedSql(query, now))
}

/** The first rollout of each device of which an open phase takes it. */
export function chooseRenewals(candidates: readonly RenewalCandidate[], now: Date): Wanted[] {
  const chosen = new Map<string, Wanted>()
  for (const candidate of candidates) {
    const { device_id: deviceId, rollout_id: rolloutId, seen_at: seenAt, bounded } = candidate
    const bucket = bucketOf(candidate.seed, deviceId)
    const phaseNos = phasesFor({ bucket, seenAt }, candidate.open_phases ?? [], now)
    if (chosen.has(deviceId) || phaseNos.length === 0) continue
    const component = certificateComponent
    chosen.set(deviceId, {
      rolloutId,
      deviceId,
      releaseId: null,
      component,
      phaseNos,
      bucket,
      bounded,
    })
  }
  return [...chosen.values()]
}

/** What the certificates of a rollout are to become: from this issuer, or made after this instant, or both. */
export interface CertificateTarget {
  certificate_issuer?: string | null
  certificate_before?: Date | string | null
}

/** A body's target as columns; nothing for a release. */
export function certificateColumns({ certificate }: Pick<RolloutBody, 'certificate'>) {
  if (!certificate) return {}
  const { issuerId = null, issuedBefore } = certificate
  return {
    kind: 'certificate' as const,
    certificate_issuer: issuerId,
    certificate_before: issuedBefore === undefined ? null : new Date(issuedBefore),
  }
}

/**
 * @param isStart whether devices are told now: then the issuer has to issue already
 * @throws DomainError `not-found`, `not-ready`, `invalid-request`
 */
export async function assertTarget(
  db: Db,
  { certificate_issuer: issuerId = null, certificate_before: before = null }: CertificateTarget,
  { now, isStart }: { now: Date; isStart: boolean },
): Promise<void> {
  if (before !== null && new Date(before) > now) {
    const message = 'Certificates that are not made yet cannot be renewed: issuedBefore is to come'
    throw new DomainError('invalid-request', message, { at: 'certificate.issuedBefore' })
  }
  if (issuerId === null) return
  const issuer = await findDeviceIssuer(db, issuerId)
  if (!issuer) {
    throw new DomainError('not-found', 'No such authority for devices', { issuerId })
  }
  const isFit = issuer.state === 'active' || (!isStart && issuer.state === 'prepared')
  if (isFit) return
  const message =
    issuer.state === 'prepared'
      ? 'The issuer does not issue yet: activate it first'
      : `The issuer is ${issuer.state}: name the one that issues now`
  throw new DomainError('not-ready', message, { issuerId, state: issuer.state })
}

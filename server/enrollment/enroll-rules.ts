import type { Csr } from '../../pki/csr/parse.ts'
import { DomainError } from '../errors.ts'
import { compileIdPattern } from './id-pattern.ts'
import { assertKeyPolicy, type RequestedNames } from './request.ts'
import { hourMs } from './state.ts'
import type { Profile, Token } from './store.ts'

/* What decides about a first certificate without a look into the database, for one request and for many at once. */

export interface Enrollment {
  /** The token that was presented, authenticated by its secret and nothing more. */
  token: Token
  profile: Profile
  csr: Csr
}

export interface EnrollRequest extends Enrollment {
  names: RequestedNames
  requestKey: Buffer
}

/** What the profile says about any request, before anything is looked up or taken. */
export function assertMayAsk({ token, profile, csr }: Enrollment, serialNumber: string): void {
  assertKeyPolicy(csr, profile.key_policy)
  assertIdentity(profile, serialNumber)
  if (token.identity !== null && token.identity !== serialNumber) {
    throw new DomainError(
      'not-allowed',
      'The certificate that was presented belongs to another serial number',
    )
  }
}

/** Only devices that speak SCEP show a challenge, and answers are encrypted to their keys. */
export function isEnciphering({ token, csr }: Pick<Enrollment, 'token' | 'csr'>): boolean {
  return token.kind === 'challenge' && csr.publicKey.algorithm.startsWith('RSA')
}

/** Made by somebody who is limited to groups: who may enroll with it is looked up for each device that is known. */
export function isLimited({ token, profile }: Pick<Enrollment, 'token' | 'profile'>): boolean {
  return token.limited || profile.limited
}

/** A file of requests that an operator gave in was approved by that. */
export function isApproved({ token, profile }: Enrollment): boolean {
  return profile.approval === 'none' || token.kind === 'batch'
}

export function assertIdentity({ id_pattern: pattern }: Profile, serialNumber: string): void {
  if (pattern !== null && !compileIdPattern(pattern)(serialNumber)) {
    throw new DomainError('not-allowed', 'The serial number is not one of this enrollment profile')
  }
}

export function assertTokenOpen(token: Token | undefined, now: Date): void {
  if (!token || (token.expires_at !== null && token.expires_at <= now)) {
    throw new DomainError('not-allowed', 'The enrollment token has expired')
  }
  if (token.max_uses !== null && token.uses >= token.max_uses) {
    throw new DomainError('quota-exhausted', 'The enrollment token is used up')
  }
}

export function assertProfileOpen(profile: Profile, now: Date): void {
  const { valid_from: from, valid_until: until, quota, used, quota_per_hour: perHour } = profile
  if (profile.paused_at) {
    throw new DomainError(
      'not-allowed',
      'This enrollment profile is paused: an operator has to resume it',
    )
  }
  if ((from && from > now) || (until && until <= now)) {
    throw new DomainError('not-allowed', 'This enrollment profile is not open now')
  }
  if (quota !== null && used >= quota) {
    throw new DomainError('quota-exhausted', 'The quota of this enrollment profile is used up')
  }
  if (perHour !== null && usedThisHour(profile, now) >= perHour) {
    const endMs = (profile.hour_began_at?.getTime() ?? 0) + hourMs - now.getTime()
    throw new DomainError(
      'rate-limited',
      'The hourly quota of this enrollment profile is used up: come back',
      { retryAfterSeconds: Math.max(1, Math.ceil(endMs / 1000)) },
    )
  }
}

export function usedThisHour(
  { hour_began_at: began, hour_used: used }: Pick<Profile, 'hour_began_at' | 'hour_used'>,
  now: Date,
): number {
  return began && began.getTime() > now.getTime() - hourMs ? used : 0
}

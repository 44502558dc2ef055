import { createHash } from 'node:crypto'

import { decodeJwt, jwtVerify, type JWTPayload } from 'jose'
import { z } from 'zod'

import { toGrants } from '../access/grants.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { boundedFetch } from '../http/bounded-fetch.ts'
import { KeysUnavailable, type RemoteKeys, remoteKeys, signatureAlgorithms } from '../jwks.ts'
import type { Caller, Credential, Refused } from '../operators/credential.ts'
import { voiceOf } from '../operators/voice.ts'
import { isTrustworthy } from '../sign-in-config.ts'
import { touchWorkload, trusting, type Workload } from './store.ts'

const maxIssuers = 100
const maxPerIssuer = 100
const freshMs = 3_600_000
const pauseMs = 10_000
const toleranceSeconds = 60
/** Pipelines get theirs for minutes. One that lasts for days is a stored secret by another name. */
const maxLifeSeconds = 24 * 3_600

const tokenPattern = /^[A-Za-z0-9_-]{4,2000}\.[A-Za-z0-9_-]{2,6000}\.[A-Za-z0-9_-]{1,4000}$/

const Discovery = z.looseObject({ issuer: z.string().max(500), jwks_uri: z.url().max(1_000) })

interface Issuer {
  keys: Promise<RemoteKeys>
  at: number
  failed: boolean
}

/**
 * Tokens that an issuer signs for its pipelines (RFC 7519, RFC 8725): nothing is stored here that could be stolen. Whom an issuer means nothing to is not
 * asked: its keys are fetched only for issuers that an administrator named.
 */
export class WorkloadVerifier {
  readonly #ctx: Pick<Context, 'db' | 'clock'>
  readonly #issuers = new Map<string, Issuer>()

  constructor(ctx: Pick<Context, 'db' | 'clock'>) {
    this.#ctx = ctx
  }

  /** Undefined for what does not look like a token. */
  credential(token: string): Credential | undefined {
    if (!tokenPattern.test(token)) return undefined
    const name = createHash('sha256').update(token).digest('hex')
    return { name, lookUp: async (now) => await this.#lookUp(token, now) }
  }

  async #lookUp(token: string, now: Date): Promise<Caller | Refused> {
    const issuer = issuerIn(token)
    if (issuer === undefined) return refused('malformed-token')
    const known = await trusting(this.#ctx.db, issuer, maxPerIssuer)
    if (known.length === 0) return refused('unknown-issuer')
    const claims = await this.#verified(token, issuer, now)
    if (typeof claims === 'string') return refused(claims)
    const workload = known.find((one) => fits(one, claims))
    if (!workload) return refused('no-match', { issuer, subject: String(claims.sub).slice(0, 255) })
    const id = `workload:${workload.id}`
    return {
      actor: {
        id,
        voice: voiceOf(id, { ...workload, owner_id: null }),
        name: `${workload.name} (${String(claims.sub).slice(0, 255)})`,
        grants: toGrants(workload.grants),
      },
      lastUsedAt: workload.last_used_at,
      touch: (tx, times) => touchWorkload(tx, workload.id, times),
    }
  }

  async #verified(token: string, issuer: string, now: Date): Promise<JWTPayload | string> {
    const keys = await this.#keysOf(issuer, now.getTime())
    try {
      const { payload } = await jwtVerify(token, keys, {
        issuer,
        algorithms: signatureAlgorithms,
        currentDate: now,
        clockTolerance: toleranceSeconds,
        requiredClaims: ['sub', 'aud', 'exp', 'iat'],
      })
      const { exp = 0, iat = 0 } = payload
      return exp - iat > maxLifeSeconds ? 'lasts-too-long' : payload
    } catch (error) {
      if (error instanceof KeysUnavailable) throw unavailable(error)
      const code = error instanceof Error && 'code' in error ? String(error.code) : ''
      return code === 'ERR_JWT_EXPIRED' ? 'expired-token' : 'not-verified'
    }
  }

  /** Where the keys are is asked once an hour (OpenID Connect Discovery §4); the keys themselves keep to jwks.ts. */
  async #keysOf(issuer: string, now: number): Promise<RemoteKeys> {
    const known = this.#issuers.get(issuer)
    const isGood = known && now - known.at < (known.failed ? pauseMs : freshMs)
    const entry = isGood ? known : { keys: findKeys(issuer), at: now, failed: false }
    if (!isGood) this.#remember(issuer, entry)
    try {
      return await entry.keys
    } catch (error) {
      entry.failed = true
      throw unavailable(error)
    }
  }

  #remember(issuer: string, entry: Issuer): void {
    this.#issuers.delete(issuer)
    this.#issuers.set(issuer, entry)
    const [oldest] = this.#issuers.keys()
    if (this.#issuers.size > maxIssuers && oldest !== undefined) this.#issuers.delete(oldest)
  }
}

async function findKeys(issuer: string): Promise<RemoteKeys> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const response = await boundedFetch(url, { headers: { Accept: 'application/json' } })
  if (response.status !== 200) throw new Error(`The issuer answers ${response.status}`)
  const { issuer: said, jwks_uri: uri } = Discovery.parse(await response.json())
  if (said !== issuer || !isTrustworthy(uri)) throw new Error('The issuer describes another one')
  return remoteKeys(uri)
}

function issuerIn(token: string): string | undefined {
  try {
    const { iss } = decodeJwt(token)
    return iss !== undefined && iss.length <= 500 ? iss : undefined
  } catch {
    return undefined
  }
}

/** Audience, subject and claims are all as they have to be. */
export function fits(
  workload: Pick<Workload, 'audience' | 'subject' | 'claims'>,
  claims: JWTPayload,
): boolean {
  const { sub, aud } = claims
  if (sub === undefined || sub.length > 255 || ![aud].flat().includes(workload.audience))
    return false
  if (!subjectPattern(workload.subject).test(sub)) return false
  return Object.entries(workload.claims as Record<string, string>).every(
    ([name, value]) => Object.hasOwn(claims, name) && textOf(claims[name]) === value,
  )
}

/** `*` stands for any characters but a colon, which issuers put between the parts of a subject. */
function subjectPattern(pattern: string): RegExp {
  const parts = pattern.split(/\*+/).map((part) => RegExp.escape(part))
  return new RegExp(`^${parts.join('[^:]*')}$`, 'u')
}

function textOf(value: unknown): string | undefined {
  return ['string', 'number', 'boolean'].includes(typeof value) ? String(value) : undefined
}

function refused(refusal: string, facts: Record<string, unknown> = {}): Refused {
  return { refusal, kind: 'workload-refused', facts, isGuess: true }
}

function unavailable(cause: unknown): DomainError {
  return new DomainError(
    'busy',
    'The keys of the issuer of this token cannot be had now: try again',
    { retryAfterSeconds: 10 },
    { cause },
  )
}

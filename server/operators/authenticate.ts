import { timingSafeEqual } from 'node:crypto'

import type { Request, RequestHandler } from 'express'

import { toGrants } from '../access/grants.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import type { Actor } from '../http/access.ts'
import { apiKeyPattern, hashApiKey } from './admin-key.ts'
import { FailureLimit } from './failure-limit.ts'
import { type ApiKey, findApiKeyByHash, touchApiKey } from './store.ts'

const touchEveryMs = 60_000
const maxRecognized = 1_000

type AuthDeps = Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>

/** Finds out who calls, or throws `not-authenticated` or `rate-limited`. One instance for all routes of a process. */
export type Authenticator = (req: Request) => Promise<Actor>

/**
 * Bearer API keys (RFC 6750 §2.1). Nothing is remembered about a key's rights: each request reads its row, so a
 * revoked key opens nothing from the commit on. What is remembered is which hashes were good lately, so that somebody
 * who guesses from the same address cannot lock out the holders of real keys.
 */
export function createAuthenticator(deps: AuthDeps): Authenticator {
  const failures = new FailureLimit()
  const recognized = new Set<string>()

  return async (req) => {
    const address = req.socket.remoteAddress ?? 'unknown'
    const now = deps.clock.now()
    const hash = hashOf(req)
    const name = hash?.toString('hex')
    if (!failures.allows(address, now) && !(name !== undefined && recognized.has(name))) {
      throw new DomainError(
        'rate-limited',
        'Too many failed attempts from this address; wait a minute',
      )
    }
    const key = hash && (await findApiKeyByHash(deps.db, hash))
    const refusal = refusalOf(key, hash, now)
    if (key === undefined || name === undefined || refusal !== undefined) {
      if (name !== undefined) recognized.delete(name)
      noteFailure(deps, { address, failures, refusal: refusal ?? 'no-key', key })
      throw new DomainError('not-authenticated', 'Send a valid API key: Authorization: Bearer KEY')
    }
    remember(recognized, name)
    await touch(deps, key, now)
    return {
      id: `key:${key.id}`,
      voice: `key:${key.id}`,
      name: key.name,
      grants: toGrants(key.grants),
      requestId: String(req.res?.locals['requestId'] ?? ''),
    }
  }
}

/** Puts the caller into `res.locals.actor`, where `route()` looks for it. */
export function authenticate(authenticator: Authenticator): RequestHandler {
  return async (req, res, next) => {
    res.locals['actor'] = await authenticator(req)
    next()
  }
}

function hashOf(req: Request): Buffer | undefined {
  const [, secret] = /^Bearer +(\S{1,100})$/i.exec(req.get('authorization') ?? '') ?? []
  return secret !== undefined && apiKeyPattern.test(secret) ? hashApiKey(secret) : undefined
}

type KeyRefusal = 'no-key' | 'unknown-key' | 'revoked-key' | 'expired-key'

function refusalOf(
  key: ApiKey | undefined,
  hash: Buffer | undefined,
  now: Date,
): KeyRefusal | undefined {
  if (!hash) return 'no-key'
  // The index found it by the same bytes; the comparison that decides does not depend on how an index compares.
  if (!key || !timingSafeEqual(key.secret_hash, hash)) return 'unknown-key'
  if (key.revoked_at) return 'revoked-key'
  if (key.expires_at && key.expires_at <= now) return 'expired-key'
  return undefined
}

function noteFailure(
  deps: AuthDeps,
  failure: {
    address: string
    failures: FailureLimit
    refusal: KeyRefusal
    key: ApiKey | undefined
  },
): void {
  const { address, failures, refusal, key } = failure
  const isLast = failures.failed(address, deps.clock.now())
  // A request without any key is a mistake, or a browser; it counts against the address but is not an event.
  if (refusal !== 'no-key') {
    noteEvent(deps, {
      source: 'server',
      kind: 'api-key-refused',
      severity: 'warning',
      facts: { reason: refusal, address, ...(key ? { keyId: key.id, name: key.name } : {}) },
    })
  }
  if (isLast) {
    noteEvent(deps, {
      source: 'server',
      kind: 'api-rate-limited',
      severity: 'warning',
      facts: { address },
    })
  }
}

function remember(recognized: Set<string>, name: string): void {
  recognized.delete(name)
  recognized.add(name)
  const [oldest] = recognized
  if (recognized.size > maxRecognized && oldest !== undefined) recognized.delete(oldest)
}

/** Written at most once a minute and key. That it could not be written is no reason to refuse the request. */
async function touch({ db, log }: AuthDeps, key: ApiKey, now: Date): Promise<void> {
  const olderThan = new Date(now.getTime() - touchEveryMs)
  if (key.last_used_at && key.last_used_at >= olderThan) return
  await inTransaction(db, (tx) => touchApiKey(tx, key.id, { now, olderThan })).catch(
    (error: unknown) => log.warn({ err: error }, 'last use of an API key not recorded'),
  )
}

import type { Request, RequestHandler } from 'express'

import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import type { Actor } from '../http/access.ts'
import { noSessionCookie } from '../people/session-cookie.ts'
import { WorkloadVerifier } from '../workloads/verify.ts'
import type { Caller, Refused } from './credential.ts'
import { credentialIn } from './credentials.ts'
import { FailureLimit } from './failure-limit.ts'

const touchEveryMs = 60_000
const maxRecognized = 1_000

type AuthDeps = Pick<Context, 'db' | 'clock' | 'log' | 'metrics' | 'config'>

/** Finds out who calls, or throws `not-authenticated` or `rate-limited`. One instance for all routes of a process. */
export type Authenticator = (req: Request) => Promise<Actor>

/**
 * All ways in: API keys, sessions of people, tokens of pipelines, certificates. Nothing is remembered about anybody's rights: each request reads them, by
 * one statement, so what was revoked opens nothing from the commit on. What is remembered is which credentials were good lately, so that somebody who
 * guesses from the same address cannot lock out those who have one.
 */
export function createAuthenticator(deps: AuthDeps): Authenticator {
  const failures = new FailureLimit()
  const recognized = new Set<string>()
  const workloads = new WorkloadVerifier(deps)

  return async (req) => {
    const address = req.socket.remoteAddress ?? 'unknown'
    const now = deps.clock.now()
    const credential = credentialIn(deps, workloads, req)
    const name = credential?.name
    if (!failures.allows(address, now) && !(name !== undefined && recognized.has(name))) {
      throw new DomainError(
        'rate-limited',
        'Too many failed attempts from this address; wait a minute',
      )
    }
    const found = (await credential?.lookUp(now)) ?? nothingShown
    if (name === undefined || found.refusal !== undefined) {
      if (name !== undefined) recognized.delete(name)
      // Whose it was goes into the audit log, when that is known (audit/refusals.ts).
      if (req.res && found.refusal !== undefined) req.res.locals['refused'] = found
      noteFailure(deps, {
        address,
        failures,
        refused: found.refusal === undefined ? nothingShown : found,
      })
      if (found.refusal !== undefined && found.kind === 'session-refused') {
        req.res?.append('Set-Cookie', noSessionCookie())
      }
      throw new DomainError(
        'not-authenticated',
        'Send a valid API key: Authorization: Bearer KEY; or sign in',
      )
    }
    remember(recognized, name)
    await touch(deps, found, now)
    return { ...found.actor, requestId: String(req.res?.locals['requestId'] ?? '') }
  }
}

/** Puts the caller into `res.locals.actor`, where `route()` looks for it. */
export function authenticate(authenticator: Authenticator): RequestHandler {
  return async (req, res, next) => {
    res.locals['actor'] = await authenticator(req)
    next()
  }
}

/** A mistake, or a browser; it counts against the address but is not an event. */
const nothingShown: Refused = { refusal: 'no-key', kind: '', isGuess: true }

function noteFailure(
  deps: AuthDeps,
  { address, failures, refused }: { address: string; failures: FailureLimit; refused: Refused },
): void {
  const { refusal: reason, kind, facts = {}, isGuess } = refused
  const isLast = isGuess && failures.failed(address, deps.clock.now())
  if (kind !== '') {
    const severity = isGuess || reason.startsWith('disabled') ? 'warning' : 'info'
    noteEvent(deps, { source: 'server', kind, severity, facts: { reason, address, ...facts } })
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

/** Written at most once a minute for each. That it could not be written is no reason to refuse the request. */
async function touch({ db, log, config }: AuthDeps, found: Caller, now: Date): Promise<void> {
  // A session that ends after a minute without use must be seen to be used before.
  const everyMs = Math.min(touchEveryMs, config.session.idleMs / 4)
  const olderThan = new Date(now.getTime() - everyMs)
  if (found.lastUsedAt && found.lastUsedAt >= olderThan) return
  await inTransaction(db, (tx) => found.touch(tx, { now, olderThan })).catch((error: unknown) =>
    log.warn({ err: error, actor: found.actor.id }, 'last use not recorded'),
  )
}

import express, { type ErrorRequestHandler, type Request, type Response, Router } from 'express'

import { PkiError } from '../../pki/errors.ts'
import { maxScepBytes } from '../../pki/scep/request.ts'
import {
  caCapabilities,
  caCertificates,
  decodeGetMessage,
  nextCaCertificates,
  pkiMessageType,
  readScepOperation,
  type ScepBody,
} from '../../pki/scep/wire.ts'
import { registrationAuthorities } from '../authorities/scep-ra.ts'
import { findChallenge, findProfileByName, type Profile } from '../enrollment/challenge.ts'
import type { IssueDeps } from '../enrollment/issue.ts'
import { assertNetwork } from '../enrollment/networks.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import { asDomainError, problems } from '../http/problem.ts'
import { FailureLimit, networkOf } from '../operators/failure-limit.ts'
import { type ScepPolicy, scepPolicyOf } from './policy.ts'
import { type Asked, answerMessage } from './service.ts'

const readBody = express.raw({ type: () => true, limit: maxScepBytes, inflate: false })

/**
 * SCEP (RFC 8894) at `/scep/<profile>`, for profiles that an operator opened to it; clients that insist on their `/pkiclient.exe`
 * find it there too. A wrong challenge is limited by remote address and profile.
 */
export function scepRouter(ctx: IssueDeps): Router {
  const router = Router({ caseSensitive: true, strict: true })
  const failures = new FailureLimit()
  for (const path of ['/:label', '/:label/pkiclient.exe']) {
    router.all(path, async (req, res) => {
      res.locals['route'] = '/scep/:label'
      const { profile, policy } = await openProfile(ctx, req.params['label'])
      send(res, await answer(ctx, req, { res, profile, policy, failures }))
    })
  }
  router.use(() => {
    throw new DomainError('not-found', 'There is no such SCEP address')
  })
  router.use(renderError)
  return router
}

/** One answer for a profile that does not exist and one that does not speak SCEP. */
async function openProfile(
  { db }: IssueDeps,
  label: unknown,
): Promise<{ profile: Profile; policy: ScepPolicy }> {
  const isLabel = typeof label === 'string' && /^[a-z0-9][a-z0-9-]{0,62}$/.test(label)
  const profile = isLabel ? await findProfileByName(db, label) : undefined
  const policy = profile && (await scepPolicyOf(db, profile.id))
  if (profile && policy?.enabled) return { profile, policy }
  throw new DomainError('not-found', 'There is no enrollment profile of this name that speaks SCEP')
}

interface Called {
  res: Response
  profile: Profile
  policy: ScepPolicy
  failures: FailureLimit
}

async function answer(ctx: IssueDeps, req: Request, called: Called): Promise<ScepBody> {
  const operation = operationOf(req)
  const { policy } = called
  switch (operation) {
    case 'GetCACaps':
      allow(req, called.res, 'GET')
      return caCapabilities({
        hasNextCa: ctx.authorities.successors(called.profile.issuer_series).length > 0,
        ...policy,
      })
    case 'GetCACert': {
      allow(req, called.res, 'GET')
      const { issuer_series: series } = called.profile
      const [newest] = await registrationAuthorities(ctx, series)
      const { deviceIssuer, root } = ctx.authorities
      return caCertificates([newest.responder.certificate, deviceIssuer(series).der, root.der])
    }
    case 'GetNextCACert':
      allow(req, called.res, 'GET')
      return await nextCertificates(ctx, called.profile)
    case 'PKIOperation':
      allow(req, called.res, 'GET', 'POST')
      return { contentType: pkiMessageType, body: await pkiOperation(ctx, req, called) }
    default:
      throw new DomainError('invalid-request', 'Unknown operation')
  }
}

/** What is prepared to take over, vouched for by who issues now (RFC 8894 §4.7): devices trust it before it issues. */
async function nextCertificates({ authorities }: IssueDeps, profile: Profile): Promise<ScepBody> {
  const next = authorities.successors(profile.issuer_series)
  if (next.length === 0) {
    throw new DomainError('not-found', 'There is no next CA: fetch the CA certificates anew')
  }
  const { der: certificate, signer } = authorities.deviceIssuer(profile.issuer_series)
  return await nextCaCertificates(next, { certificate, signer })
}

async function pkiOperation(ctx: IssueDeps, req: Request, called: Called): Promise<Buffer> {
  const { profile, policy, failures, res } = called
  const address = req.socket.remoteAddress ?? 'unknown'
  const place = `${networkOf(address)}|${profile.name}`
  const authenticate: Asked['authenticate'] = async (challenge) => {
    const token = await findChallenge(ctx.db, profile.id, challenge)
    if (token) {
      assertNetwork(profile, address)
      res.locals['actor'] = { id: `token:${token.id}` }
      return token
    }
    // The limit is for guesses alone: a whole factory may be behind one address, with devices that renew and poll besides.
    if (!failures.allows(place, ctx.clock.now())) {
      throw new DomainError('rate-limited', 'Too many wrong challenges from this address: wait')
    }
    const isLast = failures.failed(place, ctx.clock.now())
    noteEvent(ctx, {
      source: 'server',
      kind: isLast ? 'enrollment-rate-limited' : 'enrollment-token-refused',
      severity: 'warning',
      facts: { reason: 'scep-challenge', profile: profile.name, address },
    })
    throw new DomainError('not-allowed', 'The challenge is not one of this profile')
  }
  const der = await messageOf(req, res)
  return await answerMessage(ctx, { profile, leniency: policy, der, address, authenticate })
}

function operationOf(req: Request) {
  try {
    return readScepOperation(queryOf(req).get('operation') ?? undefined)
  } catch (error) {
    throw refused(error)
  }
}

/** Express's own parser makes objects and lists of what somebody writes. */
function queryOf({ originalUrl }: Request): URLSearchParams {
  return new URL(originalUrl, 'https://localhost').searchParams
}

async function messageOf(req: Request, res: Response): Promise<Buffer> {
  if (req.method !== 'POST') {
    try {
      return decodeGetMessage(queryOf(req).get('message') ?? '')
    } catch (error) {
      throw refused(error)
    }
  }
  await new Promise<void>((resolve, reject) => {
    readBody(req, res, (error?: unknown) => (error ? reject(error) : resolve()))
  })
  const body: unknown = req.body
  return Buffer.isBuffer(body) ? body : Buffer.alloc(0)
}

function refused(error: unknown): unknown {
  return error instanceof PkiError ? new DomainError('invalid-request', error.message) : error
}

function allow(req: Request, res: Response, ...methods: string[]): void {
  if (methods.includes(req.method)) return
  res.setHeader('Allow', methods.join(', '))
  throw new DomainError('method-not-allowed', `Use ${methods.join(' or ')}`)
}

function send(res: Response, { contentType, body }: ScepBody): void {
  res.statusCode = 200
  res.setHeader('Content-Type', contentType)
  res.setHeader('Content-Length', body.length)
  res.end(body)
}

const renderError: ErrorRequestHandler = (error, req, res, next) => {
  if (res.headersSent) return next(error)
  const known = asDomainError(error)
  if (!known) res.locals['log']?.error({ err: error }, 'SCEP request failed')
  res.locals['problem'] = known?.code ?? 'internal'
  const status = known ? problems[known.code][0] : 500
  if (status === 429) res.setHeader('Retry-After', '60')
  if (status === 503) res.setHeader('Retry-After', '5')
  const waitSeconds = known?.facts['retryAfterSeconds']
  if (typeof waitSeconds === 'number') res.setHeader('Retry-After', String(waitSeconds))
  // What was not read of the body must not be taken for the next request.
  if (!req.complete) res.setHeader('Connection', 'close')
  const body = Buffer.from(`${known?.message ?? 'Internal error'}\n`, 'utf8')
  res.statusCode = status
  res.setHeader('Content-Type', 'text/plain; charset=utf-8')
  res.setHeader('Content-Length', body.length)
  res.end(body)
}

import { timingSafeEqual } from 'node:crypto'

import type { Request, RequestHandler } from 'express'

import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import { clientCertificate } from '../http/device-auth.ts'
import { FailureLimit } from '../operators/failure-limit.ts'
import { tenant } from './request.ts'
import { hashOfToken } from './token-service.ts'
import { type Bearer, findBearer, noteUse } from './token-store.ts'

type Deps = Pick<
  Context,
  'db' | 'clock' | 'log' | 'metrics' | 'config' | 'connections' | 'identities'
>

const hourMs = 3_600_000
const mostKnown = 20_000

/**
 * Hands requests with hawkBit's `Authorization: TargetToken …` to the DDI routes as their device, where the server is told to (`targetTokens`) and
 * no certificate was shown: with one, the token is not looked at. The right is read for every request.
 *
 * @param ddi the DDI routes, which are behind the certificate otherwise
 */
export function targetTokens(ctx: Deps, ddi: RequestHandler): RequestHandler {
  const bearers = new Bearers(ctx)
  return async (req, res, next) => {
    const token = tokenIn(req)
    const isOurs = req.path.startsWith(`/${tenant}/controller/v1/`)
    if (!ctx.config.targetTokens || token === undefined || !isOurs) return next()
    if (clientCertificate(res).status !== 'none') return next()
    const deviceId = await bearers.check(req, token)
    res.locals['identity'] = { deviceId, certificateId: '', fingerprint: '' }
    res.locals['actor'] = { id: `device:${deviceId}` }
    return await ddi(req, res, next)
  }
}

function tokenIn(req: Request): string | undefined {
  return /^TargetToken ([!-~]{1,200})$/.exec(req.get('authorization') ?? '')?.[1]
}

class Bearers {
  readonly #ctx: Deps
  readonly #failures = new FailureLimit()
  /** Hashes that were right lately: whoever tries wrong ones from the same address does not lock these out. */
  readonly #known = new Set<string>()

  constructor(ctx: Deps) {
    this.#ctx = ctx
  }

  /** @throws DomainError `not-authenticated`, `not-allowed`, `rate-limited` */
  async check(req: Request, token: string): Promise<string> {
    const { db, clock, connections, identities } = this.#ctx
    const address = req.socket.remoteAddress ?? 'unknown'
    const hash = hashOfToken(token)
    if (!hash || !this.#known.has(hash.toString('hex'))) this.#limit(address)
    // A process that does not hear of revocations lets nobody in, as with certificates.
    if (!identities.ready())
      throw new DomainError('busy', 'The status of this device is not known now')
    const bearer = hash && (await findBearer(db, hash))
    if (!bearer || !timingSafeEqual(bearer.hash, hash)) throw this.#refused(address)
    const { device_id: deviceId } = bearer
    const refusal = refusalOf(bearer)
    if (refusal !== undefined) throw this.#cutOff(address, deviceId, refusal)
    this.#remember(hash.toString('hex'))
    const { socket } = req
    connections.add(socket, { fingerprint: `token ${deviceId}`, deviceId })
    if (connections.ownerOf(socket)?.deviceId !== deviceId) {
      throw new DomainError('not-allowed', 'One connection is for one device')
    }
    const now = clock.now()
    if (now.getTime() - (bearer.last_used_at?.getTime() ?? 0) >= hourMs) {
      await inTransaction(db, (tx) => noteUse(tx, deviceId, now))
    }
    return deviceId
  }

  #limit(address: string): void {
    if (this.#failures.allows(address, this.#ctx.clock.now())) return
    throw new DomainError(
      'rate-limited',
      'Too many wrong tokens from this address: wait a minute',
      {
        retryAfterSeconds: 60,
      },
    )
  }

  #refused(address: string): DomainError {
    const isLast = this.#failures.failed(address, this.#ctx.clock.now())
    const kind = isLast ? 'ddi-token-rate-limited' : 'ddi-token-refused'
    const facts = { address }
    noteEvent(this.#ctx, { source: 'server', kind, severity: 'warning', facts })
    return new DomainError('not-authenticated', 'This is no token of a device')
  }

  #cutOff(address: string, deviceId: string, refusal: string): DomainError {
    const kind = 'device-refused'
    const facts = { refusal, listener: 'device', address, token: true }
    noteEvent(this.#ctx, { source: 'server', kind, severity: 'warning', deviceId, facts })
    return new DomainError('not-allowed', `Refused: ${refusal}`, { refusal })
  }

  #remember(hash: string): void {
    this.#known.delete(hash)
    this.#known.add(hash)
    const [oldest] = this.#known
    if (this.#known.size > mostKnown && oldest !== undefined) this.#known.delete(oldest)
  }
}

function refusalOf(bearer: Bearer): string | undefined {
  if (bearer.state !== 'active') return `device-${bearer.state}`
  if (bearer.group_disabled) return 'group-disabled'
  return bearer.has_certificate && !bearer.despite_certificate ? 'has-certificate' : undefined
}

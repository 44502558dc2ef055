import { TLSSocket } from 'node:tls'

import express, { type Request, type RequestHandler, type Response, Router } from 'express'

import { fingerprint } from '../../pki/x509/parse.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import { clientCertificate, refusedBy } from '../http/device-auth.ts'
import type { Identity } from '../identity.ts'
import { createEnrollmentAuthenticator, type EnrollmentAuthenticator } from './authenticate.ts'
import { enroll } from './enroll.ts'
import {
  decodeEstBody,
  maxEstBodyBytes,
  renderEstError,
  renewAtHeader,
  sendCertificates,
} from './est-wire.ts'
import type { IssueDeps } from './issue.ts'
import { identifyLapsed } from './lapsed.ts'
import { renew } from './renew.ts'
import { renewalHintFor } from './renewal-hint.ts'
import { readRequest } from './request.ts'
import { type EstOperation, estOperations } from './state.ts'
import { findProfile } from './store.ts'
import { assertLinked } from './tls-linking.ts'

type Deps = IssueDeps & Pick<Context, 'connections'>

const readBody = express.raw({ type: () => true, limit: maxEstBodyBytes, inflate: false })

/**
 * Enrollment over Secure Transport (RFC 7030, RFC 8951), to be mounted at `/.well-known/est` behind `deviceAuth`, with and
 * without a label, which is the name of an enrollment profile.
 */
export function estRouter(ctx: Deps): Router {
  const router = Router({ caseSensitive: true, strict: true })
  const est = new Est(ctx)
  router.use(est.dispatch)
  router.use(renderEstError)
  return router
}

class Est {
  readonly #ctx: Deps
  readonly #authenticate: EnrollmentAuthenticator

  constructor(ctx: Deps) {
    this.#ctx = ctx
    this.#authenticate = createEnrollmentAuthenticator(ctx)
  }

  dispatch: RequestHandler = async (req, res) => {
    const { label, operation } = pathOf(req.path)
    res.locals['route'] = `/.well-known/est/${label === undefined ? '' : ':label/'}${operation}`
    allowMethod(req, res, operation)
    if (label !== undefined) await this.#assertLabel(label)
    switch (operation) {
      case 'cacerts':
        return this.#cacerts(res)
      case 'csrattrs':
        return void res.status(204).end()
      case 'simpleenroll':
        return await this.#simpleEnroll(req, res, label)
      case 'simplereenroll':
        return await this.#simpleReenroll(req, res, label)
      case 'serverkeygen':
      case 'fullcmc':
        return notOffered(res, operation)
      default:
        throw new DomainError('not-found', 'No such EST operation')
    }
  }

  async #assertLabel(label: string): Promise<void> {
    if (!(await findProfile(this.#ctx.db, { name: label }))) {
      throw new DomainError('not-found', 'There is no enrollment profile of this name')
    }
  }

  #cacerts(res: Response): void {
    sendCertificates(res, this.#ctx.authorities.distributed, 'application/pkcs7-mime')
  }

  async #simpleEnroll(req: Request, res: Response, label: string | undefined): Promise<void> {
    assertType(req)
    const address = req.socket.remoteAddress ?? 'unknown'
    const { token, profile } = await this.#authenticate(req, clientCertificate(res), label)
    res.locals['actor'] = { id: `token:${token.id}` }
    const csr = readRequest(await derOf(req, res))
    assertLinked(csr.challengePassword, req.socket)
    const der = await this.#noting({ token: token.id, profile: profile.name, address }, () =>
      enroll(this.#ctx, { token, profile, csr }),
    )
    await this.#sendIssued(res, der)
  }

  async #simpleReenroll(req: Request, res: Response, label: string | undefined): Promise<void> {
    const { identity, isLapsed } = await this.#whoRenews(req, res)
    assertType(req)
    const csr = readRequest(await derOf(req, res))
    assertLinked(csr.challengePassword, req.socket)
    const der = await this.#noting({ deviceId: identity.deviceId }, () =>
      renew(this.#ctx, { identity, csr, label, isLapsed }),
    )
    await this.#sendIssued(res, der)
  }

  /** A certificate that counts, or one that has ended and may still fetch its successor. */
  async #whoRenews(
    req: Request,
    res: Response,
  ): Promise<{ identity: Identity; isLapsed: boolean }> {
    const certificate = clientCertificate(res)
    switch (certificate.status) {
      case 'allowed':
        return { identity: certificate.identity, isLapsed: false }
      case 'untrusted':
        return { identity: await this.#lapsed(req, res), isLapsed: true }
      case 'refused':
        if (certificate.refusal !== 'certificate-expired') throw refusedBy(certificate.refusal)
        return { identity: await this.#lapsed(req, res), isLapsed: true }
      case 'none':
      default:
        throw new DomainError(
          'not-allowed',
          "Show the device's current certificate in the TLS handshake",
        )
    }
  }

  async #lapsed({ socket }: Request, res: Response): Promise<Identity> {
    const presented = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined
    if (!presented) throw new DomainError('not-allowed', 'There is no client certificate')
    const address = socket.remoteAddress ?? 'unknown'
    const identity = await this.#noting({ address }, () => identifyLapsed(this.#ctx, presented.raw))
    // Good for this one request, and its own renewal must not end it before the answer.
    res.setHeader('Connection', 'close')
    this.#ctx.connections.release(socket)
    return identity
  }

  /** The certificate, and when to come back for the next. */
  async #sendIssued(res: Response, der: Buffer): Promise<void> {
    const hint = await renewalHintFor(this.#ctx.db, fingerprint(der))
    if (hint) res.setHeader(renewAtHeader, hint.renewAt.toISOString())
    sendCertificates(res, [der], 'application/pkcs7-mime; smime-type=certs-only')
  }

  /** A request that was authenticated and then refused is worth a look: a wrong line, a cloned device, a quota that is gone. */
  async #noting<T>(facts: Record<string, unknown>, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      const isRefusal =
        error instanceof DomainError &&
        ['not-allowed', 'quota-exhausted', 'rate-limited'].includes(error.code)
      if (isRefusal) {
        noteEvent(this.#ctx, {
          source: 'server',
          kind: 'enrollment-refused',
          severity: 'warning',
          facts: { ...facts, code: error.code, reason: error.message },
        })
      }
      throw error
    }
  }
}

function pathOf(path: string): { label: string | undefined; operation: EstOperation } {
  const parts = path.split('/').slice(1)
  const operation = estOperations.find((name) => name === parts.at(-1))
  const label = parts.length === 2 ? parts[0] : undefined
  const isLabel = label === undefined || /^[a-z0-9][a-z0-9-]{0,62}$/.test(label)
  if (!operation || parts.length > 2 || !isLabel) {
    throw new DomainError('not-found', 'No such EST operation')
  }
  return { label, operation }
}

const methods: Record<EstOperation, readonly string[]> = {
  cacerts: ['GET', 'HEAD'],
  csrattrs: ['GET', 'HEAD'],
  simpleenroll: ['POST'],
  simplereenroll: ['POST'],
  serverkeygen: ['POST'],
  fullcmc: ['POST'],
}

function allowMethod(req: Request, res: Response, operation: EstOperation): void {
  const allowed = methods[operation]
  if (allowed.includes(req.method)) return
  res.setHeader('Allow', allowed.join(', '))
  throw new DomainError('method-not-allowed', `Use ${allowed.join(' or ')}`)
}

function notOffered(res: Response, operation: string): void {
  const body = Buffer.from(`${operation} is not offered\n`)
  res.locals['problem'] = 'not-offered'
  res.statusCode = 501
  res.setHeader('Content-Type', 'text/plain; charset=utf-8')
  res.setHeader('Content-Length', body.length)
  res.setHeader('Connection', 'close')
  res.end(body)
}

/** Parameters and upper case are accepted; what is in the body is decided by the type alone. */
function assertType(req: Request): void {
  const [type = ''] = (req.get('content-type') ?? '').split(';')
  if (type.trim().toLowerCase() !== 'application/pkcs10') {
    throw new DomainError('unsupported-media-type', 'Send the request as application/pkcs10')
  }
}

async function derOf(req: Request, res: Response): Promise<Buffer> {
  await new Promise<void>((resolve, reject) => {
    readBody(req, res, (error?: unknown) => (error ? reject(error) : resolve()))
  })
  const body: unknown = req.body
  return decodeEstBody(Buffer.isBuffer(body) ? body : Buffer.alloc(0))
}

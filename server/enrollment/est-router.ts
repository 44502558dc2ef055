import { TLSSocket } from 'node:tls'

import express, { type Request, type RequestHandler, type Response, Router } from 'express'

import type { Csr } from '../../pki/csr/parse.ts'
import { serverKeyBody } from '../../pki/est/server-key.ts'
import { fingerprint } from '../../pki/x509/parse.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import { clientCertificate, refusedBy } from '../http/device-auth.ts'
import type { Identity } from '../identity.ts'
import { peerOf } from '../peer-certificate.ts'
import { leafOf } from '../peer-leaf.ts'
import { Turns } from '../turns.ts'
import { createEnrollmentAuthenticator, type EnrollmentAuthenticator } from './authenticate.ts'
import { enroll } from './enroll.ts'
import {
  decodeEstBody,
  maxEstBodyBytes,
  renderEstError,
  renewAtHeader,
  sendBase64,
  sendBody,
  sendCertificates,
} from './est-format.ts'
import { allowMethod, notOffered, pathOf } from './est-paths.ts'
import { csrAttributesOf, type EstPolicy, estPolicyOf, estPolicyOfDevice } from './est-policy.ts'
import type { IssueDeps } from './issue.ts'
import { identifyLapsed } from './lapsed.ts'
import { renew } from './renew.ts'
import { renewalHintFor } from './renewal-hint.ts'
import { readRequest } from './request.ts'
import { generateFor, packKey, readKeyRequest, recordServerKey } from './server-key.ts'
import { findProfile, type Profile } from './store.ts'
import { assertLinked } from './tls-linking.ts'

const operations = new Set([
  'cacerts',
  'csrattrs',
  'simpleenroll',
  'simplereenroll',
  'serverkeygen',
])

function outcomeOf(status: number): 'done' | 'waiting' | 'refused' | 'failed' {
  if (status === 202) return 'waiting'
  if (status < 400) return 'done'
  return status < 500 ? 'refused' : 'failed'
}

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

interface KeyWanter {
  policy: EstPolicy
  /** The device's own certificate from the handshake, DER. */
  presented: Buffer | undefined
  issue: (csr: Csr) => Promise<Buffer>
}

class Est {
  readonly #ctx: Deps
  readonly #authenticate: EnrollmentAuthenticator
  readonly #turns: Turns

  constructor(ctx: Deps) {
    this.#ctx = ctx
    this.#authenticate = createEnrollmentAuthenticator(ctx)
    // Renewals, which come from a whole fleet at once; the other half of the connections is for everybody else. Nothing that a device
    // could draw out is done in a turn.
    const atOnce = Math.max(1, Math.floor(ctx.config.databaseConnections / 2))
    this.#turns = new Turns({ atOnce, maxWaiting: 2_000, maxWaitMs: 8_000 })
  }

  dispatch: RequestHandler = async (req, res) => {
    const { label, operation } = pathOf(req.path)
    res.locals['route'] = `/.well-known/est/${label === undefined ? '' : ':label/'}${operation}`
    allowMethod(req, res, operation)
    this.#count(res, operation)
    const named = label === undefined ? undefined : await this.#profileOf(label)
    switch (operation) {
      case 'cacerts':
        return this.#cacerts(res)
      case 'csrattrs':
        return await this.#csrAttributes(res, named)
      case 'simpleenroll':
        return await this.#simpleEnroll(req, res, label)
      case 'simplereenroll':
        return await this.#simpleReenroll(req, res, label)
      case 'serverkeygen':
        return await this.#serverKey(req, res, named)
      case 'fullcmc':
        return notOffered(res, operation)
      default:
        throw new DomainError('not-found', 'No such EST operation')
    }
  }

  /** Operations that are none of EST are not counted by name: anybody can make up more. */
  #count(res: Response, operation: string): void {
    if (!operations.has(operation)) return
    res.once('finish', () => {
      this.#ctx.metrics.estRequests.inc({ operation, outcome: outcomeOf(res.statusCode) })
    })
  }

  async #profileOf(label: string): Promise<Profile> {
    const profile = await findProfile(this.#ctx.db, { name: label })
    if (profile) return profile
    throw new DomainError('not-found', 'There is no enrollment profile of this name')
  }

  #cacerts(res: Response): void {
    sendCertificates(res, this.#ctx.authorities.distributed, 'application/pkcs7-mime')
  }

  /** Of the profile that the label names, or else of the device that asks; anybody else is told that nothing is wanted. */
  async #csrAttributes(res: Response, named: Profile | undefined): Promise<void> {
    const certificate = clientCertificate(res)
    const { db } = this.#ctx
    const policy = named
      ? await estPolicyOf(db, named.id)
      : certificate.status === 'allowed' &&
        (await estPolicyOfDevice(db, certificate.identity.deviceId))
    const der = policy && csrAttributesOf(policy)
    if (der) sendBase64(res, der, 'application/csrattrs')
    else res.status(204).end()
  }

  async #simpleEnroll(req: Request, res: Response, label: string | undefined): Promise<void> {
    assertType(req)
    const address = req.socket.remoteAddress ?? 'unknown'
    const { token, profile } = await this.#authenticate(req, clientCertificate(res), label)
    res.locals['actor'] = { id: `token:${token.id}` }
    const csr = readRequest(await derOf(req, res))
    assertLinked(csr.challengePassword, req.socket, await estPolicyOf(this.#ctx.db, profile.id))
    const der = await this.#noting({ token: token.id, profile: profile.name, address }, () =>
      enroll(this.#ctx, { token, profile, csr }),
    )
    await this.#sendIssued(res, der)
  }

  async #simpleReenroll(req: Request, res: Response, label: string | undefined): Promise<void> {
    const { identity, isLapsed } = await this.#whoRenews(req, res)
    assertType(req)
    const csr = readRequest(await derOf(req, res))
    const der = await this.#turns.run(async () => {
      const policy = await estPolicyOfDevice(this.#ctx.db, identity.deviceId)
      assertLinked(csr.challengePassword, req.socket, policy)
      return await this.#noting({ deviceId: identity.deviceId }, () =>
        renew(this.#ctx, { identity, csr, label, isLapsed }),
      )
    })
    await this.#sendIssued(res, der)
  }

  /**
   * A key made here (RFC 7030 §4.4), for a device that enrolls or, with its certificate and without a token, renews. The private key
   * is in this answer and nowhere else.
   */
  async #serverKey(req: Request, res: Response, named: Profile | undefined): Promise<void> {
    const { db, authorities } = this.#ctx
    if (named && (await estPolicyOf(db, named.id)).serverKey === null) {
      return notOffered(res, 'serverkeygen')
    }
    assertType(req)
    const who = await this.#whoWantsKey(req, res, named?.name)
    const { serverKey } = who.policy
    if (serverKey === null) return notOffered(res, 'serverkeygen')
    const { content, recipient } = readKeyRequest(await derOf(req, res), who.presented)
    assertLinked(content.challengePassword, req.socket, who.policy)
    const { key, csr } = await generateFor(content, serverKey)
    const packed = await packKey(key, recipient, authorities)
    const der = await who.issue(csr)
    const isEncrypted = packed.kind === 'sealed'
    await recordServerKey(this.#ctx, { certificate: der, csr, isEncrypted })
    await this.#hint(res, der)
    const { contentType, body } = serverKeyBody(packed, der)
    sendBody(res, body, contentType)
  }

  async #whoWantsKey(req: Request, res: Response, label: string | undefined): Promise<KeyWanter> {
    const ctx = this.#ctx
    const certificate = clientCertificate(res)
    const presented = req.socket instanceof TLSSocket ? peerOf(req.socket)?.chain[0] : undefined
    if (certificate.status === 'allowed' && req.get('authorization') === undefined) {
      const { identity } = certificate
      const { deviceId } = identity
      return {
        policy: await estPolicyOfDevice(ctx.db, deviceId),
        presented,
        issue: async (csr) =>
          await this.#turns.run(() =>
            this.#noting({ deviceId }, () => renew(ctx, { identity, csr, label })),
          ),
      }
    }
    const address = req.socket.remoteAddress ?? 'unknown'
    const { token, profile } = await this.#authenticate(req, certificate, label)
    res.locals['actor'] = { id: `token:${token.id}` }
    return {
      policy: await estPolicyOf(ctx.db, profile.id),
      // A claim certificate is shared by a line: its key is not one to encrypt a device's key to.
      presented: token.kind === 'manufacturer' ? presented : undefined,
      issue: async (csr) =>
        await this.#noting({ token: token.id, profile: profile.name, address }, () =>
          enroll(ctx, { token, profile, csr }),
        ),
    }
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
    const presented = socket instanceof TLSSocket ? leafOf(socket) : undefined
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
    await this.#hint(res, der)
    sendCertificates(res, [der], 'application/pkcs7-mime; smime-type=certs-only')
  }

  async #hint(res: Response, der: Buffer): Promise<void> {
    const hint = await renewalHintFor(this.#ctx.db, fingerprint(der))
    if (hint) res.setHeader(renewAtHeader, hint.renewAt.toISOString())
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

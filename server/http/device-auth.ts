import { TLSSocket } from 'node:tls'

import type { Request, RequestHandler, Response } from 'express'

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import type { Identity, Refusal, Verdict } from '../identity.ts'
import { peerOf } from '../peer-certificate.ts'

/** What the client certificate of a connection is worth for one request. */
export type ClientCertificate =
  | { status: 'none' }
  /** It does not chain to our device issuers, or is out of its dates: it proves nothing. */
  | { status: 'untrusted' }
  /** Ours, and it has lost its right, or that could not be established. */
  | { status: 'refused'; refusal: Refusal }
  | { status: 'allowed'; identity: Identity }

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'metrics' | 'identities' | 'connections'>

/**
 * Establishes who is calling, anew for every request: a connection or a TLS session outlives a revocation (pki.md T2, T3). The
 * socket is filed before its status is asked for, so that a revocation in between ends it. Sets `res.locals`
 * `clientCertificate`, and `identity` for a device that may act now.
 */
export function deviceAuth(deps: Deps): RequestHandler {
  return async (req, res, next) => {
    const certificate = await clientCertificateOf(deps, req)
    res.locals['clientCertificate'] = certificate
    if (certificate.status === 'allowed') {
      res.locals['identity'] = certificate.identity
      res.locals['actor'] = { id: `device:${certificate.identity.deviceId}` }
    }
    // A connection that was refused is of no further use; a changed mind needs a new one.
    if (certificate.status === 'refused') res.setHeader('Connection', 'close')
    next()
  }
}

/** Lets only devices pass that may act now. */
export const requireDevice: RequestHandler = (_req, res, next) => {
  const certificate = clientCertificate(res)
  switch (certificate.status) {
    case 'allowed':
      return next()
    case 'refused':
      throw refusedBy(certificate.refusal)
    case 'untrusted':
      throw new DomainError('not-allowed', 'The client certificate is not trusted or not valid now')
    case 'none':
      throw new DomainError('not-allowed', 'Show the client certificate of a device')
    default:
      throw new DomainError('not-allowed', 'The client certificate could not be judged')
  }
}

export function clientCertificate(res: Response): ClientCertificate {
  // Set by `deviceAuth`; without it nobody is anybody.
  return (
    (res.locals['clientCertificate'] as ClientCertificate | undefined) ?? { status: 'untrusted' }
  )
}

/** 503 while the status is unknown, otherwise 403. */
export function refusedBy(refusal: Refusal): DomainError {
  return refusal === 'status-unknown'
    ? new DomainError('busy', 'The status of this certificate cannot be established now')
    : new DomainError('not-allowed', `Refused: ${refusal}`, { refusal })
}

async function clientCertificateOf(deps: Deps, req: Request): Promise<ClientCertificate> {
  const { socket } = req
  if (!(socket instanceof TLSSocket)) return { status: 'none' }
  const peer = peerOf(socket)
  if (!peer) return { status: 'none' }
  // Why it is not authorized is not asked: one reason masks all others (pki.md T1).
  if (socket.authorized !== true || peer.isCa) return { status: 'untrusted' }
  const { fingerprint, deviceId } = peer
  if (deviceId === undefined) return { status: 'refused', refusal: 'unknown-certificate' }
  deps.connections.add(socket, { fingerprint, deviceId })
  const verdict = await verdictOf(deps, fingerprint)
  if (verdict.allowed && verdict.identity.deviceId === deviceId) {
    return { status: 'allowed', identity: verdict.identity }
  }
  const refusal = verdict.allowed ? 'unknown-certificate' : verdict.refusal
  noteEvent(deps, {
    source: 'server',
    kind: 'device-refused',
    severity: refusal === 'status-unknown' ? 'info' : 'warning',
    ...(verdict.allowed || verdict.deviceId === undefined ? {} : { deviceId: verdict.deviceId }),
    facts: { refusal, listener: 'device', fingerprint, address: socket.remoteAddress },
  })
  return { status: 'refused', refusal }
}

async function verdictOf({ identities }: Deps, fingerprint: string): Promise<Verdict> {
  const known = identities.peek(fingerprint)
  if (known) return known
  const checked = await identities.check(fingerprint)
  // What was announced since the check read the database is in memory.
  return identities.peek(fingerprint) ?? checked
}

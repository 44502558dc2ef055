import type { Socket } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'

import { admissionOf, admitInTurn, type NotAdmitted } from '../admission.ts'
import type { Context } from '../context.ts'
import { keepIssuers, leafOf } from '../peer-leaf.ts'
import { type HeaderFault, takeProxied } from '../proxy-header.ts'
import { followRenewals, secureContext, shareTickets } from '../tls.ts'
import { fingerprintOf } from './identity.ts'
import type { Limits } from './limits.ts'
import { type RefusalLog, Refused } from './refusal.ts'

export interface Gate {
  server: Server
  /** Every accepted TCP connection, those in the handshake included. */
  sockets: ReadonlySet<Socket>
}

/**
 * The TLS listener. It lets a handshake finish whatever the certificate, because only then the reason of a refusal can be
 * read (broker.md §2), so the check after it is the only gate: `pass` gets a socket whose peer has proved a certificate that
 * chains to our device issuers, and its fingerprint. Nothing else reaches the broker.
 */
export function createGate(
  ctx: Pick<Context, 'authorities' | 'config' | 'log' | 'metrics' | 'tickets'>,
  limits: Limits,
  refusals: RefusalLog,
  pass: (socket: TLSSocket, fingerprint: string) => void,
): Gate {
  const server = createServer({
    ...secureContext(ctx.authorities, true),
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ['mqtt'],
    handshakeTimeout: limits.handshakeMs,
    pauseOnConnect: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
  })
  followRenewals(server, ctx.authorities, true)
  keepIssuers(server)
  shareTickets(server, ctx, 'mqtt')
  admitInTurn(server, {
    admission: admissionOf(ctx),
    waitMs: limits.handshakeMs,
    log: ctx.log,
    refused: (why, remoteAddress) => refusals.record(notAdmitted(why), { remoteAddress }),
  })
  takeProxied(server, {
    networks: ctx.config.proxyFrom,
    headerMs: limits.handshakeMs,
    refused: (fault, remoteAddress) => refusals.record(headerProblem(fault), { remoteAddress }),
  })
  server.maxConnections = limits.maxConnections
  server.on('drop', (dropped) =>
    refusals.record(new Refused('too-many-connections'), { remoteAddress: dropped?.remoteAddress }),
  )
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('tlsClientError', (error, socket) => {
    refusals.record(handshakeProblem(error), { remoteAddress: socket.remoteAddress })
    socket.destroy()
  })
  server.on('secureConnection', (socket) => {
    // Aedes removes all listeners of this event when it closes a client; the next one must not end the process.
    socket.on('error', () => {})
    const checked = check(socket)
    if (typeof checked === 'string') return pass(socket, checked)
    refusals.record(checked, { remoteAddress: socket.remoteAddress })
    socket.destroy()
  })
  return { server, sockets }
}

/** @returns the fingerprint, or why the peer does not get in */
function check(socket: TLSSocket): string | Refused {
  // Of a resumed session it is the certificate of its first handshake. Asked for once: each time costs a copy of it.
  const certificate = leafOf(socket)
  if (certificate === undefined) return new Refused('no-certificate')
  const fingerprint = fingerprintOf(certificate)
  if (socket.authorized !== true) {
    // An OpenSSL verify code, from OpenSSL's own list. For people only: it is not what decides.
    return new Refused('certificate-not-trusted', {
      code: String(socket.authorizationError),
      fingerprint,
    })
  }
  // OpenSSL lets an authority be a client if its key usage has digitalSignature; no device is one (pki.md A9).
  if (certificate.ca !== false) {
    return new Refused('certificate-not-trusted', { code: 'IS_CA', fingerprint })
  }
  return fingerprint
}

function headerProblem(fault: HeaderFault): Refused {
  if (fault === 'gone') return new Refused('connection-broken')
  return new Refused('proxy-header', { fault })
}

function notAdmitted(why: NotAdmitted): Refused {
  return new Refused('not-admitted', { why })
}

/** Health checks and port scans open and close: that is counted, not recorded. */
function handshakeProblem(error: Error): Refused {
  const code = 'code' in error ? String(error.code) : 'unknown'
  const broken = code === 'ECONNRESET' || code === 'EPIPE'
  return new Refused(broken ? 'connection-broken' : 'tls-failed', { code })
}

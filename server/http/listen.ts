import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server as HttpServer,
  type ServerResponse,
  type ServerOptions,
} from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

import { admissionOf, admitInTurn, listenBacklog } from '../admission.ts'
import type { Context } from '../context.ts'
import { keepIssuers } from '../peer-leaf.ts'
import { takeProxied } from '../proxy-header.ts'
import { followRenewals, secureContext, shareTickets } from '../tls.ts'
import { proxyFaults } from './proxy-faults.ts'

export interface Listening extends AsyncDisposable {
  /** The real one, also when 0 was asked for. */
  port: number
}

export interface HttpLimits {
  handshakeMs: number
  headersMs: number
  /** For a whole request, except an upload of bytes. */
  requestMs: number
  /** For an upload of bytes, which may be gigabytes; a stall ends it earlier. */
  uploadMs: number
  /** Without a byte in either direction, request or answer. */
  stallMs: number
  keepAliveMs: number
  maxConnections: number
  /** What requests under way get when the server stops. */
  stopMs: number
}

const defaults: HttpLimits = {
  handshakeMs: 10_000,
  headersMs: 10_000,
  requestMs: 30_000,
  uploadMs: 12 * 3_600_000,
  stallMs: 60_000,
  keepAliveMs: 15_000,
  maxConnections: 20_000,
  stopMs: 1_500,
}

const maxHeaderBytes = 16_384
const maxHeaders = 64

type Deps = Pick<Context, 'config' | 'log' | 'authorities' | 'metrics' | 'tickets'>

/**
 * An HTTPS listener with every limit in place (TLS 1.2 and 1.3). With `clientCertificates` it asks for one but lets every
 * handshake finish: what a certificate is worth is decided per request (device-auth.ts), where a reason can be given.
 */
export async function listenHttps(
  ctx: Deps,
  app: RequestListener,
  options: {
    port: number
    clientCertificates: boolean
    /** Asks operators for one too, of whoever signed it. */
    operatorCertificates?: boolean
    /** Other processes listen on the same port: the system gives each its share of connections. */
    reusePort?: boolean
    limits?: Partial<HttpLimits>
  },
): Promise<Listening> {
  const limits = { ...defaults, ...options.limits }
  const { clientCertificates } = options
  const requestCert = clientCertificates || options.operatorCertificates === true
  const server = createHttpsServer(
    {
      ...serverOptions(limits),
      ...secureContext(ctx.authorities, clientCertificates),
      requestCert,
      rejectUnauthorized: false,
      handshakeTimeout: limits.handshakeMs,
      pauseOnConnect: clientCertificates,
      ALPNProtocols: ['http/1.1'],
    },
    app,
  )
  followRenewals(server, ctx.authorities, clientCertificates)
  if (requestCert) keepIssuers(server)
  if (clientCertificates) {
    shareTickets(server, ctx, 'device')
    const { handshakeMs: waitMs } = limits
    admitInTurn(server, { admission: admissionOf(ctx), waitMs, log: ctx.log })
  }
  takeProxied(server, {
    networks: ctx.config.proxyFrom,
    headerMs: limits.handshakeMs,
    refused: proxyFaults(ctx),
  })
  server.on('tlsClientError', (_error, socket) => socket.destroy())
  server.on('secureConnection', (socket) => socket.on('error', () => {}))
  // Only operators upload; on a listener for devices nothing may take long to arrive.
  const uploadMs = clientCertificates ? limits.requestMs : limits.uploadMs
  const { port, reusePort } = options
  return await listen(ctx, server, { port, reusePort }, { ...limits, uploadMs })
}

/** A plain HTTP listener, for what anybody may read. */
export async function listenHttp(
  ctx: Pick<Deps, 'config' | 'log'>,
  app: RequestListener,
  options: { port: number; limits?: Partial<HttpLimits> },
): Promise<Listening> {
  const given = { ...defaults, maxConnections: 2_000, ...options.limits }
  const limits = { ...given, uploadMs: given.requestMs }
  const { port } = options
  return await listen(ctx, createHttpServer(serverOptions(limits), app), { port }, limits)
}

function serverOptions(limits: HttpLimits): ServerOptions {
  return {
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: limits.headersMs,
    // The outermost bound; `limitRequest` sets the real one by what is sent.
    requestTimeout: limits.uploadMs,
    keepAliveTimeout: limits.keepAliveMs,
    // How late those two may be noticed.
    connectionsCheckingInterval: Math.min(5_000, limits.headersMs),
    insecureHTTPParser: false,
    noDelay: true,
  }
}

async function listen(
  { config, log }: Pick<Deps, 'config' | 'log'>,
  server: HttpServer,
  { port, reusePort = false }: { port: number; reusePort?: boolean | undefined },
  limits: HttpLimits,
): Promise<Listening> {
  server.maxConnections = limits.maxConnections
  server.maxHeadersCount = maxHeaders
  server.setTimeout(limits.stallMs)
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('clientError', refuseGarbage)
  server.prependListener('request', (req: IncomingMessage, res: ServerResponse) =>
    limitRequest(req, res, limits),
  )
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, host: config.bind, reusePort, backlog: listenBacklog }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  server.on('error', (error) => log.error({ err: error }, 'listener failed'))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The listener has no port')
  return {
    port: address.port,
    [Symbol.asyncDispose]: () => stop(server, sockets, limits.stopMs),
  }
}

/** A request that trickles in holds a connection and no more, and that only so long. */
function limitRequest(
  req: IncomingMessage,
  res: ServerResponse,
  { requestMs, uploadMs }: HttpLimits,
): void {
  const isUpload = req.headers['content-type']?.startsWith('application/octet-stream') ?? false
  const timer = setTimeout(
    () => {
      if (!req.complete) req.socket.destroy()
    },
    isUpload ? uploadMs : requestMs,
  )
  timer.unref()
  for (const event of ['end', 'close'] as const) req.once(event, () => clearTimeout(timer))
  // Answered unread, such as an upload without a key: the rest is thrown away, and Node has stopped counting by then.
  res.once('finish', () => {
    if (req.complete) return
    setTimeout(() => {
      if (!req.complete) req.socket.destroy()
    }, requestMs).unref()
  })
}

function refuseGarbage(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (socket.writable && error.code !== 'ECONNRESET') {
    const status =
      error.code === 'HPE_HEADER_OVERFLOW'
        ? '431 Request Header Fields Too Large'
        : '400 Bad Request'
    socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
  }
  socket.destroy()
}

/** No new connections; what is under way gets a moment; then everything ends. */
async function stop(
  server: HttpServer,
  sockets: ReadonlySet<Socket>,
  stopMs: number,
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  const timer = setTimeout(() => {
    for (const socket of sockets) socket.destroy()
  }, stopMs)
  await closed
  clearTimeout(timer)
}

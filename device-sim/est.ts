import type { OutgoingHttpHeaders } from 'node:http'
import { request } from 'node:https'

import { readCertsOnly } from '../pki/cms/certs-only.ts'
import { PkiError } from '../pki/errors.ts'
import { DeviceError, messageOf } from './errors.ts'
import { presenting } from './tls.ts'

/** Where and as whom to speak EST (RFC 7030). `root` is the pinned root, PEM; nothing else is trusted. */
export interface EstServer {
  host: string
  port: number
  root: string
  /** PEM, for simplereenroll. */
  client?: { key: string; certificates: string }
}

const maxBodyBytes = 262_144
const timeoutMs = 30_000
const maxRetryAfterMs = 3_600_000
const maxTooEarlyMs = 86_400_000

/** CA certificates of the server (RFC 7030 §4.1), DER; none is trusted by being in it. */
export async function fetchCaCertificates(server: EstServer): Promise<Buffer[]> {
  const { text } = await call(server, { method: 'GET', operation: 'cacerts' })
  return readCertificates(text)
}

/** What the server issued. */
export interface Issued {
  /** DER. */
  certificate: Buffer
  /** When the server wants it renewed, if it says so. */
  renewAt: Date | undefined
}

/**
 * The first certificate (RFC 7030 §4.2.1), by HTTP Basic with profile and token. The same CSR may be sent
 * again and gets the same answer.
 *
 * @throws DeviceError `pending` with `retryAfterMs` (202), `est` for a refusal, `offline`
 */
export async function simpleEnroll(
  server: EstServer,
  { csr, profile, token }: { csr: Buffer; profile: string; token: string },
): Promise<Issued> {
  const authorization = `Basic ${Buffer.from(`${profile}:${token}`).toString('base64')}`
  return issuedIn(
    await call(server, {
      method: 'POST',
      operation: 'simpleenroll',
      csr,
      headers: { authorization },
    }),
  )
}

/** A new certificate by means of the current one (RFC 7030 §4.2.2), which may have ended. */
export async function simpleReenroll(server: EstServer, csr: Buffer): Promise<Issued> {
  return issuedIn(await call(server, { method: 'POST', operation: 'simplereenroll', csr }))
}

interface Call {
  method: 'GET' | 'POST'
  operation: string
  csr?: Buffer
  headers?: OutgoingHttpHeaders
}

async function call(server: EstServer, { method, operation, csr, headers }: Call): Promise<Answer> {
  const body = csr && Buffer.from(wrapped(csr.toString('base64')))
  const answer = await exchange(server, {
    method,
    path: `/.well-known/est/${operation}`,
    headers: {
      ...headers,
      ...(body && { 'content-type': 'application/pkcs10', 'content-length': body.length }),
    },
    body,
  })
  const { status, retryAfter, text } = answer
  if (status === 200) return answer
  // 403 with a time is a renewal that comes too early.
  const isWait = status === 202 || status === 429 || status === 503
  if (isWait || (status === 403 && retryAfter !== undefined)) {
    throw new DeviceError('pending', `The server asks to wait (${status})`, 'Try again later', {
      retryAfterMs: Math.min(
        Number(retryAfter ?? 10) * 1000 || 10_000,
        isWait ? maxRetryAfterMs : maxTooEarlyMs,
      ),
    })
  }
  throw new DeviceError(
    'est',
    `The server refused ${operation} (${status}): ${readable(text)}`,
    advice(status),
  )
}

function advice(status: number): string {
  switch (status) {
    case 401:
      return 'Check the profile name and the token; a token may have expired or be used up'
    case 403:
      return 'Ask the operator: this device may not have a certificate now'
    case 404:
      return 'Check the server host and device port'
    default:
      return 'Ask the operator of the server'
  }
}

interface Exchange {
  method: string
  path: string
  headers: OutgoingHttpHeaders
  body: Buffer | undefined
}

interface Answer {
  status: number
  retryAfter: string | undefined
  renewAt: string | undefined
  text: string
}

async function exchange(server: EstServer, { body, ...options }: Exchange): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const sent = request({
    ...options,
    host: server.host,
    port: server.port,
    ca: server.root,
    minVersion: 'TLSv1.2',
    agent: false,
    signal: AbortSignal.timeout(timeoutMs),
    ...(server.client && presenting(server.client)),
  })
  sent.on('error', reject)
  sent.on('response', (response) => {
    const pieces: Buffer[] = []
    let length = 0
    response.on('error', reject)
    response.on('data', (piece: Buffer) => {
      length += piece.length
      if (length > maxBodyBytes) {
        response.destroy(new Error('The answer is too long'))
        return
      }
      pieces.push(piece)
    })
    response.on('end', () => {
      const text = Buffer.concat(pieces).toString('latin1')
      const { 'retry-after': retryAfter, 'fleetseal-renew-at': renewAt } = response.headers
      resolve({
        status: response.statusCode ?? 0,
        retryAfter,
        renewAt: typeof renewAt === 'string' ? renewAt : undefined,
        text,
      })
    })
  })
  sent.end(body)
  try {
    return await promise
  } catch (cause) {
    throw new DeviceError(
      'offline',
      `No answer from ${server.host}:${server.port}: ${messageOf(cause)}`,
      'Check that the server runs and that its root certificate is the one given',
      { cause },
    )
  }
}

function issuedIn({ text, renewAt }: Answer): Issued {
  const at = new Date(renewAt ?? '')
  return {
    certificate: onlyCertificate(text),
    renewAt: Number.isNaN(at.getTime()) ? undefined : at,
  }
}

function onlyCertificate(text: string): Buffer {
  const certificates = readCertificates(text)
  const [issued] = certificates
  if (!issued || certificates.length !== 1) {
    throw new DeviceError(
      'est',
      'The answer does not hold exactly one certificate',
      'Ask the operator of the server',
    )
  }
  return issued
}

/** RFC 8951: base64 whatever the headers say, white space tolerated. */
function readCertificates(text: string): Buffer[] {
  const base64 = text.replaceAll(/[\r\n\t ]/g, '')
  const der = Buffer.from(base64, 'base64')
  try {
    if (der.toString('base64') !== base64) throw new PkiError('cms', 'Not base64')
    return readCertsOnly(der)
  } catch (cause) {
    throw new DeviceError(
      'est',
      `The answer is not a certs-only message: ${messageOf(cause)}`,
      'Check that the address is that of an EST server',
      { cause },
    )
  }
}

function wrapped(base64: string): string {
  return `${base64.match(/.{1,64}/g)?.join('\n') ?? ''}\n`
}

function readable(text: string): string {
  return text
    .replaceAll(/[^ -~]+/g, ' ')
    .trim()
    .slice(0, 300)
}

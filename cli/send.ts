import {
  Agent as HttpAgent,
  type IncomingMessage,
  request as httpRequest,
  type RequestOptions,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { pipeline, type Readable } from 'node:stream'

import { exitCodes, Failure, usageError } from './failure.ts'

const maxAnswerBytes = 16 * 1024 * 1024

export interface Answer {
  status: number
  /** Parsed JSON; undefined for an empty body. */
  body: unknown
}

export interface Outgoing {
  method: string
  /** With query. */
  path: string
  headers: Record<string, string>
  /** Sent as JSON when it is defined. */
  body?: unknown
  stream?: { source: Readable; size: number } | undefined
}

export interface Sender extends Disposable {
  send: (outgoing: Outgoing) => Promise<Answer>
  /** The head of the answer; the body is for the caller to read, and to destroy. */
  open: (outgoing: Outgoing, signal?: AbortSignal) => Promise<IncomingMessage>
}

interface SenderOptions {
  server: string
  ca?: string | undefined
  apiKey: string
  timeoutMs: number
}

/**
 * One request at a time to one server, on kept connections. TLS trusts the given authority and no other, and the name in
 * the certificate is checked. Throws `Failure` with exit code 3 when no answer came.
 */
export function createSender(options: SenderOptions): Sender {
  const base = serverUrl(options.server)
  const isTls = base.protocol === 'https:'
  const agent = isTls
    ? new HttpsAgent({
        keepAlive: true,
        maxSockets: 8,
        ...(options.ca ? { ca: options.ca } : {}),
        minVersion: 'TLSv1.2',
      })
    : new HttpAgent({ keepAlive: true, maxSockets: 8 })
  const open: Sender['open'] = async (outgoing, signal) => {
    const json =
      outgoing.body === undefined ? undefined : Buffer.from(JSON.stringify(outgoing.body))
    const size = outgoing.stream?.size ?? json?.length
    const requestOptions: RequestOptions = {
      method: outgoing.method,
      host: base.hostname.replace(/^\[|\]$/g, ''),
      port: base.port || (isTls ? 443 : 80),
      path: outgoing.path,
      agent,
      timeout: options.timeoutMs,
      ...(signal ? { signal } : {}),
      headers: {
        Accept: 'application/json',
        Authorization: `Bearer ${options.apiKey}`,
        ...(json ? { 'Content-Type': 'application/json' } : {}),
        ...(size === undefined ? {} : { 'Content-Length': size }),
        ...outgoing.headers,
      },
    }
    return await exchange(isTls ? httpsRequest : httpRequest, requestOptions, {
      json,
      source: outgoing.stream?.source,
      timeoutMs: options.timeoutMs,
    })
  }
  const reached = async <T>(ask: () => Promise<T>): Promise<T> => {
    try {
      return await ask()
    } catch (error) {
      throw error instanceof Failure ? error : unreachable(base, error)
    }
  }
  return {
    open: async (outgoing, signal) => await reached(async () => await open(outgoing, signal)),
    send: async (outgoing) =>
      await reached(async () => {
        try {
          const incoming = await open(outgoing)
          return { status: incoming.statusCode ?? 0, body: await readJson(incoming) }
        } finally {
          outgoing.stream?.source.destroy()
        }
      }),
    [Symbol.dispose]: () => agent.destroy(),
  }
}

function serverUrl(text: string): URL {
  const url = URL.parse(text)
  if (
    !url ||
    !['https:', 'http:'].includes(url.protocol) ||
    (url.pathname !== '/' && url.pathname !== '')
  ) {
    throw usageError(`Not the address of a server: ${text}`, 'It looks like https://HOST:8443')
  }
  const local = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)
  if (url.protocol === 'http:' && !local) {
    throw usageError('An API key is sent over https only', 'Use https://')
  }
  return url
}

interface Payload {
  json: Buffer | undefined
  source: Readable | undefined
  timeoutMs: number
}

async function exchange(
  request: typeof httpsRequest,
  options: RequestOptions,
  payload: Payload,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const outgoing = request(options, resolve)
  outgoing.once('error', reject)
  outgoing.once('timeout', () =>
    outgoing.destroy(new Error(`no answer within ${payload.timeoutMs / 1000} s`)),
  )
  if (payload.source) {
    payload.source.once('error', (error) =>
      reject(new Failure('failed', `The file cannot be read: ${error.message}`, { cause: error })),
    )
    // A refusal comes before the whole file was sent: what matters then is the answer, not the broken pipe.
    pipeline(payload.source, outgoing, (error) => {
      if (error) reject(error)
    })
  } else outgoing.end(payload.json)
  return await promise
}

/** The whole of an answer that is not read piece by piece. Throws when it is too large or not JSON. */
export async function readJson(incoming: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxAnswerBytes) throw new Failure('failed', 'The answer is too large')
    chunks.push(chunk)
  }
  if (size === 0) return undefined
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown
  } catch (error) {
    throw new Failure(
      'failed',
      `The server answered ${incoming.statusCode} with something that is not JSON`,
      {
        cause: error,
      },
    )
  }
}

function unreachable(server: URL, error: unknown): Failure {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const reason = error instanceof Error ? error.message || code : String(error)
  const isTrust = /CERT|SELF_SIGNED|ISSUER|ALTNAME|VERIFY/.test(code)
  return new Failure('unreachable', `No connection to ${server.origin}: ${reason}`, {
    exitCode: exitCodes.unreachable,
    nextStep: isTrust
      ? "Name the server's own authority: --ca FILE (data/ca/root.pem on the server), and a name that is in its certificate"
      : 'Is the server running, and is --server (or FLEETSEAL_SERVER) right?',
    cause: error,
  })
}

import { randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

import type { z } from 'zod'

import type { ApiClient, Listing, StreamWanted, Upload } from './api.ts'
import { exitCodes, Failure } from './failure.ts'
import { failureOf } from './problem.ts'
import { createSender, readJson, type Sender } from './send.ts'

export interface ClientOptions {
  /** `https://HOST:PORT`; plain http only to this machine. */
  server: string
  /** PEM of the one authority that is trusted; needed for https. */
  ca?: string | undefined
  apiKey: string
  /** Without any byte from the server. */
  timeoutMs?: number
}

type Query = Record<string, string | number | boolean | undefined>

/** As it is sent; the types of `ApiClient` see to it that it is a call of the interface. */
interface AnyClient extends Disposable {
  get: <T>(answer: z.ZodType<T>, path: string, query?: Query) => Promise<T>
  create: <T>(answer: z.ZodType<T>, path: string, body: unknown, key?: string) => Promise<T>
  act: <T>(answer: z.ZodType<T>, path: string, body: unknown) => Promise<T>
  patch: <T>(answer: z.ZodType<T>, path: string, body: unknown) => Promise<T>
  put: (path: string) => Promise<void>
  replace: <T>(
    answer: z.ZodType<T>,
    path: string,
    body: unknown,
    seen?: { version: string },
  ) => Promise<T>
  delete: (path: string) => Promise<void>
  upload: <T>(answer: z.ZodType<T>, path: string, upload: Upload) => Promise<T>
  stream: (path: string, wanted: StreamWanted) => Promise<Readable>
  list: <T>(
    page: z.ZodType<Listing<T>>,
    path: string,
    query?: Query & { atMost?: number | undefined },
  ) => AsyncGenerator<T>
}

const attempts = 3
const defaultTimeoutMs = 30_000
const maxListed = 100_000

/**
 * Speaks to one server's REST interface. Throws `Failure`: the server's problem, `unreachable` (exit code 3) when there is
 * no answer. Calls that may be repeated are tried three times when the connection breaks or the server is busy.
 */
export function createClient(options: ClientOptions): ApiClient {
  const sender = createSender({ ...options, timeoutMs: options.timeoutMs ?? defaultTimeoutMs })
  const call = async <T>(answer: z.ZodType<T>, request: Call): Promise<T> =>
    understood(answer, await attempt(sender, request))
  const get: AnyClient['get'] = async (answer, path, query) =>
    await call(answer, { method: 'GET', path, query, repeatable: true })
  const client: AnyClient = {
    get,
    create: async (answer, path, body, key = randomUUID()) =>
      await call(answer, {
        method: 'POST',
        path,
        body,
        repeatable: true,
        headers: { 'Idempotency-Key': key },
      }),
    act: async (answer, path, body) => await call(answer, { method: 'POST', path, body }),
    patch: async (answer, path, body) =>
      await call(answer, { method: 'PATCH', path, body, repeatable: true }),
    put: async (path) => void (await attempt(sender, { method: 'PUT', path, repeatable: true })),
    replace: async (answer, path, body, seen) =>
      await call(answer, {
        method: 'PUT',
        path,
        body,
        repeatable: true,
        ...(seen && { headers: { 'If-Match': `"${seen.version}"` } }),
      }),
    delete: async (path) =>
      void (await attempt(sender, { method: 'DELETE', path, repeatable: true })),
    upload: async (answer, path, { source, size, method = 'PUT', headers, query }) =>
      await call(answer, {
        method,
        path,
        query,
        stream: { source, size },
        headers: { 'Content-Type': 'application/octet-stream', ...headers },
      }),
    stream: async (path, { accept, query, headers, signal }) => {
      const outgoing = { method: 'GET', path: withQuery(path, query) }
      const incoming = await sender.open(
        { ...outgoing, headers: { ...headers, Accept: accept } },
        signal,
      )
      if (incoming.statusCode === 200) return incoming
      throw failureOf(incoming.statusCode ?? 0, await readJson(incoming))
    },
    list: async function* (page, path, { atMost = maxListed, ...query } = {}) {
      let cursor: string | undefined
      let left = atMost
      while (left > 0) {
        const { items, nextCursor } = await get(page, path, {
          ...query,
          limit: Math.min(left, 200),
          cursor,
        })
        yield* items
        left -= items.length
        if (nextCursor === null || items.length === 0) return
        cursor = nextCursor
      }
    },
    [Symbol.dispose]: () => sender[Symbol.dispose](),
  }
  // Its own types say less about the same calls.
  return client as ApiClient
}

interface Call {
  method: string
  path: string
  query?: Query | undefined
  body?: unknown
  stream?: { source: Readable; size: number }
  headers?: Record<string, string>
  repeatable?: boolean
}

/** Returns the parsed body of a 2xx; undefined for 204. */
async function attempt(sender: Sender, call: Call): Promise<unknown> {
  for (let tried = 1; ; tried++) {
    const isLast = !call.repeatable || tried === attempts
    try {
      const { status, body } = await sender.send({
        method: call.method,
        path: withQuery(call.path, call.query),
        headers: call.headers ?? {},
        body: call.body,
        stream: call.stream,
      })
      if (status >= 200 && status < 300) return body
      const failure = failureOf(status, body)
      if (status !== 503 || isLast) throw failure
    } catch (error) {
      if (!(error instanceof Failure) || error.exitCode !== exitCodes.unreachable || isLast)
        throw error
    }
    await sleep(200 * 3 ** (tried - 1))
  }
}

/** The answer as it came, typed; what the schema does not name is kept, so that `--json` shows all there is. */
function understood<T>(schema: z.ZodType<T>, body: unknown): T {
  if (schema.safeParse(body).success) return body as T
  throw new Failure(
    'failed',
    'The server answered something that this version does not understand',
    {
      nextStep: 'Use the command line of the same version as the server',
    },
  )
}

function withQuery(path: string, query: Query = {}): string {
  const given = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) given.set(name, String(value))
  }
  const text = given.toString()
  return `/api/v1${path}${text === '' ? '' : `?${text}`}`
}

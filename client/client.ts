import createFetchClient, { type Client, type Middleware } from 'openapi-fetch'

import { creating, type paths } from './generated.ts'

export interface ApiOptions {
  /** `https://HOST:8443`; in a browser nothing, which is the server that the page came from. */
  server?: string
  /** Sent as a bearer token; without one it is the session of the browser that counts. */
  apiKey?: string
  /** In place of that of the platform: for another trust store, or a test. */
  fetch?: (request: Request) => Promise<Response>
}

const attempts = 3
const waitMs = [200, 600]

/**
 * The REST interface with the types of its description: `api.GET('/groups/{groupId}', { params: { path: { groupId } } })` answers `{ data }` or `{ error }`, a
 * problem with a `code` (RFC 9457). What may be repeated is tried three times when the connection breaks or the server is busy; what creates is sent under one
 * `Idempotency-Key`, so that it is made once.
 */
export function createApi(options: ApiOptions = {}): Client<paths> {
  const send = options.fetch ?? (async (request: Request) => await fetch(request))
  const client = createFetchClient<paths>({
    baseUrl: `${options.server ?? ''}/api/v1`,
    fetch: async (request: Request) => await repeated(request, send),
  })
  client.use(identified(options.apiKey))
  return client
}

function identified(apiKey: string | undefined): Middleware {
  return {
    onRequest({ request, schemaPath }) {
      if (apiKey !== undefined) request.headers.set('Authorization', `Bearer ${apiKey}`)
      const creates = request.method === 'POST' && creating.has(schemaPath)
      if (creates && !request.headers.has('Idempotency-Key')) {
        request.headers.set('Idempotency-Key', crypto.randomUUID())
      }
      return request
    },
  }
}

async function repeated(
  request: Request,
  send: (request: Request) => Promise<Response>,
): Promise<Response> {
  // Done twice, what does not create may be two.
  const isAction = request.method === 'POST' && !request.headers.has('Idempotency-Key')
  for (let tried = 1; ; tried++) {
    const isLast = isAction || tried === attempts
    try {
      const response = await send(request.clone())
      if (response.status !== 503 || isLast) return response
      await response.body?.cancel()
    } catch (error) {
      if (isLast || request.signal.aborted) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, waitMs[tried - 1]))
  }
}

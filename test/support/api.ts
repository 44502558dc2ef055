import { createHash, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { createLocalBus } from '../../server/bus.ts'
import { loadConfig } from '../../server/config.ts'
import { ConnectionIndex } from '../../server/connections.ts'
import type { Context } from '../../server/context.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { createApp } from '../../server/http/app.ts'
import { newId } from '../../server/ids.ts'
import { createLogger } from '../../server/log.ts'
import { createMetrics } from '../../server/metrics.ts'
import { noTransport } from '../../server/mqtt/transport.ts'
import { insertApiKey, newApiKeySecret } from '../../server/operators/admin-key.ts'
import { type BuiltInRole, builtInRoles } from '../../server/protocol/permissions.ts'
import { TestClock } from './clock.ts'

export interface Reply {
  status: number
  /** Parsed JSON; undefined when there is no body or it is not JSON. */
  body: Record<string, unknown> & { items?: Record<string, unknown>[] }
  headers: Headers
  text: string
}

export interface TestApi extends AsyncDisposable {
  ctx: Context & { clock: TestClock }
  url: string
  /** Log lines so far, parsed. */
  log: () => Record<string, unknown>[]
  keys: Record<BuiltInRole, { id: string; secret: string }>
  /** Sends JSON with the admin's key unless told otherwise; `key: ''` sends none. */
  call: (
    method: string,
    path: string,
    body?: unknown,
    options?: { key?: string; headers?: Record<string, string> },
  ) => Promise<Reply>
}

/** The operators' app on a loopback port with plain HTTP, on a test database, with one key of each role. */
export async function startApi(
  handle: DatabaseHandle,
  overrides: Partial<Context> = {},
): Promise<TestApi> {
  const dataDir = await mkdtemp(join(tmpdir(), 'fleetseal-api-'))
  const lines: string[] = []
  const clock = new TestClock()
  const ctx = {
    // Tests ask as fast as they can.
    config: loadConfig({ FLEETSEAL_DATA_DIR: dataDir, FLEETSEAL_API_RATE: '100000' }),
    db: handle.db,
    clock,
    log: createLogger('info', { write: (line) => void lines.push(line) }),
    metrics: createMetrics(),
    nodeId: randomUUID(),
    bus: createLocalBus(),
    kek: createHash('sha256').update('test').digest(),
    authorities: standInAuthorities(new Date(clock.now().getTime() + 86_400_000)),
    identities: {
      peek: () => undefined,
      check: async () => ({ allowed: false, refusal: 'unknown-certificate' }),
      deviceAllowed: () => undefined,
      ready: () => true,
    },
    connections: new ConnectionIndex(),
    storage: {},
    transport: noTransport,
    ...overrides,
  } as unknown as Context & { clock: TestClock }
  const made = []
  for (const role of builtInRoles) made.push([role, await makeKey(ctx, role)] as const)
  const keys = Object.fromEntries(made) as TestApi['keys']
  const server: Server = createApp(ctx).listen(0, '127.0.0.1')
  await new Promise<void>((resolve) => server.once('listening', resolve))
  const address = server.address()
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  return {
    ctx,
    url,
    keys,
    log: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
    call: async (method, path, body, { key = keys.admin.secret, headers = {} } = {}) => {
      const response = await fetch(
        path.startsWith('/api/') ? `${url}${path}` : `${url}/api/v1${path}`,
        {
          method,
          headers: {
            ...(key === '' ? {} : { Authorization: `Bearer ${key}` }),
            ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
            ...headers,
          },
          ...(body === undefined ? {} : { body: isRaw(body) ? body : JSON.stringify(body) }),
        },
      )
      const text = await response.text()
      return { status: response.status, headers: response.headers, text, body: parsed(text) }
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

/** What the app itself asks of authorities: until when they are good. */
function standInAuthorities(notAfter: Date) {
  const issuer = { certificate: { notAfter } }
  return { tls: { notAfter }, root: issuer, servers: issuer, deviceIssuers: [issuer] }
}

async function makeKey(ctx: Context, role: BuiltInRole): Promise<{ id: string; secret: string }> {
  const { secret, prefix, hash } = newApiKeySecret()
  const id = newId(ctx.clock.now())
  await inTransaction(ctx.db, (tx) =>
    insertApiKey(tx, {
      id,
      name: `test ${role}`,
      role,
      prefix,
      hash,
      createdBy: 'system',
      createdAt: ctx.clock.now(),
    }),
  )
  return { id, secret }
}

function parsed(text: string): Reply['body'] {
  try {
    return JSON.parse(text) as Reply['body']
  } catch {
    return {}
  }
}

function isRaw(body: unknown): body is string | Uint8Array<ArrayBuffer> {
  return typeof body === 'string' || body instanceof Uint8Array
}

import pg from 'pg'

import { operatorOf } from '../test/support/operator.ts'
import { type RunningServer, startServer } from '../test/support/server.ts'
import type { BenchDatabase, Env } from './bench.ts'
import { enrollDevices } from './fleet.ts'
import type { Credential } from './load/orders.ts'

/** The whole server, on PostgreSQL, with devices that are enrolled. */
export interface OurServer extends AsyncDisposable {
  server: RunningServer
  database: BenchDatabase
  credentials: readonly Credential[]
  /** What devices trust, PEM. */
  ca: string
}

/** Only a group, a profile and a token: whoever needs releases takes `openSite`. */
export async function startOurServer(
  env: Env,
  { devices, environment = {} }: { devices: number; environment?: Record<string, string> },
): Promise<OurServer> {
  const database = await env.database()
  const server = await startServer({
    DATABASE_URL: database.url,
    FLEETSEAL_LOG_LEVEL: 'warn',
    // The peers have no such limit: what is measured is what connecting costs.
    FLEETSEAL_CONNECT_RATE: '100000',
    ...environment,
  })
  try {
    const { fleetseal } = operatorOf(server)
    await fleetseal('group', 'create', 'lab')
    await fleetseal('enrollment', 'create', 'line-1', '--group', 'lab')
    const { token } = await fleetseal<{ token: string }>('enrollment', 'token', 'line-1')
    const line = { profile: 'line-1', token }
    const made = await enrollDevices(server, line, { count: devices })
    env.say(`${devices} devices enrolled`)
    return {
      ...made,
      server,
      database,
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    }
  } catch (error) {
    await server[Symbol.asyncDispose]()
    throw error
  }
}

/** So many devices more, each with a certificate that was taken back. The server is started again: it reads them as after any restart. */
export async function revokeMany({ server, database }: OurServer, count: number): Promise<void> {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  try {
    await client.query(
      `insert into device (id, name, serial_number, state, created_at, changed_at)
       select md5('device' || n)::uuid, 'revoked-' || n, 'revoked-' || n, 'revoked', now(), now()
       from generate_series(1, $1::int) n`,
      [count],
    )
    await client.query(
      `insert into certificate (id, authority_id, serial, kind, state, device_id, spki_sha256, tbs, der, fingerprint, subject,
         not_before, not_after, revoked_at, revocation_reason, created_at)
       select gen_random_uuid(), known.authority_id, '\\x40'::bytea || substring(sha256(n::text::bytea) for 15), 'device', 'revoked',
         md5('device' || n)::uuid, sha256(n::text::bytea), '', '', encode(sha256(n::text::bytea), 'hex'), known.subject,
         now() - interval '1 day', now() + interval '90 days', now(), 'keyCompromise', now()
       from generate_series(1, $1::int) n,
         (select authority_id, subject from certificate where kind = 'device' limit 1) known`,
      [count],
    )
    await client.query('analyze')
  } finally {
    await client.end()
  }
  await server.stop()
  await server.restart()
}

import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { makeExpired } from '../support/expired.ts'
import {
  hardwareId,
  model,
  openSite,
  publishRelease,
  type Site,
  startRollout,
} from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

const needed = ['openssl', 'curl', 'mosquitto_sub', 'mosquitto_pub']
const missing = needed.filter((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0)
const why = missing.length > 0 ? ` (skipped: ${missing.join(', ')} not installed)` : ''
const script = fileURLToPath(new URL('foreign-device.sh', import.meta.url))

let database: DatabaseHandle
let server: RunningServer
let site: Site
let scratch: string
beforeAll(async () => {
  if (missing.length > 0) return
  scratch = await mkdtemp(join(tmpdir(), 'fleetseal-foreign-'))
  database = await createTestDatabase()
  if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  server = await startServer({ DATABASE_URL: database.url })
  site = await openSite(server)
  const image = randomBytes(700_000)
  const release = await publishRelease(site, {
    version: '2.0.0',
    build: 200,
    svn: 2,
    image,
    metadataVersion: 1,
  })
  await startRollout(site, release)
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
  if (scratch) await rm(scratch, { recursive: true, force: true })
})

test.skipIf(missing.length > 0)(
  `a shell with openssl, curl and mosquitto is a device, and no more than that${why}`,
  async () => {
    const { operator, profile, token } = site
    const other = await operator.fleetseal<{ id: string }>(
      'device',
      'register',
      'OTHER-1',
      '--group',
      'lab',
    )
    const expired = await makeExpired(server, database.db, other.id, scratch)
    const child = spawn('bash', [script], {
      env: {
        PATH: process.env['PATH'],
        HOST: 'localhost',
        DEVICE_PORT: String(server.ports.device),
        MQTT_PORT: String(server.ports.mqtt),
        CA: server.ca,
        PROFILE: profile,
        TOKEN: token,
        SERIAL: 'FOREIGN-1',
        MODEL: model,
        HARDWARE_ID: hardwareId,
        OTHER_DEVICE: other.id,
        EXPIRED_CERT: expired.cert,
        EXPIRED_KEY: expired.key,
        API: `https://localhost:${server.ports.api}/api/v1`,
        API_KEY: await server.apiKey(),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => (output += chunk))
    const [code] = await once(child, 'exit')
    expect(output).toContain('foreign device: all as it should be')
    expect(code).toBe(0)
    expect(output.match(/^ok {2}/gm)?.length).toBeGreaterThanOrEqual(17)
  },
)

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, onTestFinished, test } from 'vitest'

import { recordAudit } from '../../server/audit/audit.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { readFleet } from '../../server/observe/fleet-store.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { onBothDatabases } from '../support/both-databases.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
  rolloutWorld,
  StatementCounter,
} from '../support/rollout-world.ts'

const fleetTest = onBothDatabases()

/** What a scraper reads: value by name with labels. */
async function scrape({ url, keys }: TestApi): Promise<Map<string, number>> {
  const response = await fetch(`${url}/metrics`, {
    headers: { Authorization: `Bearer ${keys.viewer.secret}` },
  })
  expect(response.status).toBe(200)
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith('fleetseal_'))
  return new Map(
    lines.map((line) => {
      const space = line.lastIndexOf(' ')
      return [line.slice(0, space), Number(line.slice(space + 1))]
    }),
  )
}

const secondsOf = (at: Date) => Math.floor(at.getTime() / 1000)

async function givenFleet(handle: DatabaseHandle, api: TestApi) {
  const world = { ...rolloutWorld(handle), clock: api.ctx.clock }
  const group = await givenGroup(world)
  await givenDevices(world, group, 3)
  await givenDevices(world, group, 2, { state: 'disabled' })
  return { world, group }
}

fleetTest('counts, queues and ends are those of the database', async ({ handle, api }) => {
  const { clock } = api.ctx
  const { world, group } = await givenFleet(handle, api)
  const release = await givenRelease(world)
  const rollout = await givenRollout(world, group, release.id)
  // Long before anything else that was recorded.
  const waitsSince = new Date('2020-01-01T00:00:00Z')
  await inTransaction(handle.db, async (tx) => {
    await recordAudit(tx, {
      at: waitsSince,
      actor: 'system',
      action: 'test.do',
      subject: 'x',
      facts: {},
    })
  })
  const expiresAt = new Date(clock.now().getTime() + 3_600_000)
  const body = { name: 'short', role: 'viewer', expiresAt: expiresAt.toISOString() }
  expect((await api.call('POST', '/api-keys', body)).status).toBe(201)
  clock.advance({ seconds: 60 })
  const seen = await scrape(api)
  expect(seen.get('fleetseal_fleet_readable')).toBe(1)
  expect(seen.get('fleetseal_devices{state="active"}')).toBe(3)
  expect(seen.get('fleetseal_devices{state="disabled"}')).toBe(2)
  expect(seen.get('fleetseal_rollouts{state="draft"}')).toBe(1)
  expect(seen.get('fleetseal_queue_rows{queue="audit-seal"}')).toBeGreaterThanOrEqual(1)
  expect(seen.get('fleetseal_queue_oldest_timestamp_seconds{queue="audit-seal"}')).toBe(
    secondsOf(waitsSince),
  )
  expect(seen.get('fleetseal_queue_rows{queue="certificate-signing"}')).toBe(0)
  expect(seen.has('fleetseal_queue_oldest_timestamp_seconds{queue="certificate-signing"}')).toBe(
    false,
  )
  expect(seen.get('fleetseal_expiry_timestamp_seconds{kind="api-key"}')).toBe(secondsOf(expiresAt))
  expect(seen.get('fleetseal_expiry_timestamp_seconds{kind="server-certificate"}')).toBe(
    secondsOf(api.ctx.authorities.tls.notAfter),
  )
  expect(seen.get('fleetseal_device_certificates_ending{days="7"}')).toBe(0)

  await act(world, rollout, 'start')
  expect((await scrape(api)).get('fleetseal_rollouts{state="draft"}')).toBe(1)
  clock.advance({ seconds: 15 })
  const later = await scrape(api)
  expect(later.has('fleetseal_rollouts{state="draft"}')).toBe(false)
  expect(later.get('fleetseal_rollouts{state="running"}')).toBe(1)
})

fleetTest('all of it is one statement', async ({ handle, api }) => {
  const counter = new StatementCounter()
  const db = handle.db.withPlugin(counter)
  expect(await counter.during(async () => await readFleet(db, api.ctx.clock.now()))).toBe(1)
})

test('without the database nothing is shown as it was', async () => {
  const handle = await createTestDatabase()
  let isDown = false
  const down = new Proxy(handle.db, {
    get: (target, name) => {
      if (isDown && name === 'getExecutor') throw new Error('the database is away')
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  await using api = await startApi({ ...handle, db: handle.db }, { db: down })
  await givenFleet(handle, api)
  expect((await scrape(api)).get('fleetseal_devices{state="active"}')).toBe(3)
  isDown = true
  api.ctx.clock.advance({ seconds: 15 })
  const seen = await scrape(api)
  expect(seen.get('fleetseal_fleet_readable')).toBe(0)
  expect([...seen.keys()].filter((name) => name.startsWith('fleetseal_devices'))).toEqual([])
  expect(seen.has('fleetseal_expiry_timestamp_seconds{kind="root"}')).toBe(true)
  await handle[Symbol.asyncDispose]()
})

test('the age of the newest backup, and how often one is made, are shown', async () => {
  await using handle = await createTestDatabase()
  await using api = await startApi(handle)
  const none = await scrape(api)
  expect(none.get('fleetseal_backup_interval_seconds')).toBe(0)
  const dir = await mkdtemp(join(tmpdir(), 'fleetseal-backups-'))
  onTestFinished(async () => await rm(dir, { recursive: true }))
  const config = { dir, keyFile: join(dir, 'key'), everyMs: 3_600_000, keep: 7, includes: [] }
  api.ctx.config = { ...api.ctx.config, backup: config }
  api.ctx.clock.advance({ seconds: 60 })
  expect((await scrape(api)).get('fleetseal_backup_timestamp_seconds')).toBe(0)
  for (const day of ['20', '21'])
    await writeFile(join(dir, `fleetseal-202611${day}T120000Z-0123abcd.backup`), '')
  api.ctx.clock.advance({ seconds: 60 })
  const seen = await scrape(api)
  expect(seen.get('fleetseal_backup_interval_seconds')).toBe(3_600)
  expect(seen.get('fleetseal_backup_timestamp_seconds')).toBe(
    secondsOf(new Date('2026-11-21T12:00:00Z')),
  )
})

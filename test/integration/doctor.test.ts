import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { restoreBackup } from '../../server/backup/restore.ts'
import { backupWorkers } from '../../server/backup/service.ts'
import { type Config, loadConfig } from '../../server/config.ts'
import type { Context } from '../../server/context.ts'
import { connectPostgres, type DatabaseHandle } from '../../server/db/client.ts'
import { examine, judgeDatabase } from '../../server/doctor/examine.ts'
import { createLogger } from '../../server/log.ts'
import { createEmptyDatabase } from '../support/empty-database.ts'
import { oldBackup, oldPassphrase } from '../support/old-installation.ts'

const dayMs = 86_400_000
let scratch: string
let handle: DatabaseHandle
let config: Config

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'fleetseal-doctor-'))
  const databaseUrl = await createEmptyDatabase()
  const environment = { FLEETSEAL_DATA_DIR: join(scratch, 'data'), DATABASE_URL: databaseUrl }
  config = loadConfig(environment)
  const order = { path: oldBackup, key: { passphrase: oldPassphrase }, now: new Date() }
  await restoreBackup(config, order)
  handle = connectPostgres(databaseUrl)
})
afterAll(async () => {
  await handle[Symbol.asyncDispose]()
  await rm(scratch, { recursive: true, force: true })
})

/** The demonstration of the fixture was on this day. */
const then = new Date('2026-11-27T00:00:00Z')

async function look(
  change: { now?: Date; config?: Partial<Config>; tlsDays?: number; isHeld?: boolean } = {},
) {
  const { now = then, tlsDays = 60 } = change
  const notAfter = new Date(now.getTime() + tlsDays * dayMs)
  const ctx = {
    db: handle.db,
    clock: { now: () => now, isHeld: () => change.isHeld === true },
    config: { ...config, ...change.config },
    authorities: { tls: { notAfter } },
    storage: {},
  }
  return await examine(ctx as unknown as Context)
}
const of = (findings: Awaited<ReturnType<typeof look>>, check: string) =>
  findings.filter((one) => one.check === check)
const levels = async (check: string, change?: Parameters<typeof look>[0]) =>
  of(await look(change), check).map(({ level }) => level)

test('every finding that is not well says what to do', async () => {
  const findings = await look()
  expect(findings.length).toBeGreaterThan(12)
  for (const { level, fix, what } of findings) {
    expect(what).not.toBe('')
    expect(fix === null, what).toBe(level === 'ok')
  }
  expect(of(findings, 'redis')).toMatchObject([{ level: 'ok' }])
})

test('clocks that differ', async () => {
  expect(await levels('clock', { now: new Date() })).toEqual(['ok'])
  expect(await levels('clock', { now: new Date(Date.now() + 30_000) })).toEqual(['warning'])
  expect(await levels('clock', { now: new Date(Date.now() - 3_600_000) })).toEqual(['error'])
})

test('a database that is old, a standby, crowded, or followed from far behind', () => {
  const well = { version: 160_004, nowMs: 0, bytes: 1, isStandby: false, lagSeconds: null }
  const facts = { ...well, connections: 10, maxConnections: 100, migrations: 40 }
  const judge = (change: object) =>
    judgeDatabase('PostgreSQL', { ...facts, ...change }).map(({ level }) => level)
  expect(judge({})).toEqual(['ok'])
  expect(judge({ version: 140_009 })).toEqual(['error'])
  expect(judge({ isStandby: true })).toEqual(['ok', 'error'])
  expect(judge({ connections: 95 })).toEqual(['ok', 'warning'])
  expect(judge({ lagSeconds: 5 })).toEqual(['ok'])
  expect(judge({ lagSeconds: 500 })).toEqual(['ok', 'warning'])
})

test('a role that may change what is recorded', async () => {
  const [finding] = of(await look(), 'audit')
  expect(finding).toMatchObject({ level: 'warning' })
  expect(finding?.what).toContain('UPDATE')
})

test('certificates and revocation lists that come to their end', async () => {
  const worst = async (check: string, now: Date) => {
    const found = await levels(check, { now })
    expect(found.length).toBeGreaterThan(0)
    return found.includes('error') ? 'error' : found.includes('warning') ? 'warning' : 'ok'
  }
  expect(await worst('certificates', then)).toBe('ok')
  expect(await worst('certificates', new Date('2100-01-01T00:00:00Z'))).toBe('error')
  expect(await worst('revocation-lists', then)).toBe('ok')
  expect(await worst('revocation-lists', new Date('2027-02-01T00:00:00Z'))).toBe('error')
  const own = async (tlsDays: number) => of(await look({ tlsDays }), 'certificates')[0]?.level
  expect(await own(20)).toBe('ok')
  expect(await own(10)).toBe('warning')
  expect(await own(1)).toBe('error')
})

test('signed metadata: keys for evaluation, and what has expired', async () => {
  const metadata = of(await look(), 'metadata')
  expect(metadata.filter(({ level }) => level !== 'ok')).toMatchObject([
    { level: 'warning', what: expect.stringContaining('EVALUATION') },
  ])
  const late = of(await look({ now: new Date('2030-01-01T00:00:00Z') }), 'metadata')
  const expired = late.filter(({ what }) => what.includes('has expired'))
  expect(expired.map(({ what }) => what).join()).toMatch(/image root.*image timestamp/)
})

test('an API key that ends soon', async () => {
  expect(await levels('api-keys')).toEqual(['ok'])
  await sql`update api_key set expires_at = ${new Date(then.getTime() + 5 * dayMs)}`.execute(
    handle.db,
  )
  expect(await levels('api-keys')).toEqual(['warning'])
  await sql`update api_key set expires_at = null`.execute(handle.db)
})

test('a disk that is low or full', async () => {
  const huge = Number.MAX_SAFE_INTEGER
  expect(await levels('disk', { config: { disk: { lowBytes: 1, reserveBytes: 0 } } })).toEqual([
    'ok',
  ])
  expect(await levels('disk', { config: { disk: { lowBytes: huge, reserveBytes: 0 } } })).toEqual([
    'warning',
  ])
  expect(
    await levels('disk', { config: { disk: { lowBytes: huge, reserveBytes: huge } } }),
  ).toEqual(['error'])
})

test('no backups, none yet, and none for long', async () => {
  expect(await levels('backups')).toEqual(['warning'])
  const dir = join(scratch, 'backups')
  await mkdir(dir)
  const backup = { dir, keyFile: join(scratch, 'key'), everyMs: dayMs, keep: 7, includes: [] }
  expect(await levels('backups', { config: { backup } })).toEqual(['error'])
  await writeFile(join(dir, 'fleetseal-20261120T000000Z-0123abcd.backup'), 'x')
  expect(await levels('backups', { config: { backup } })).toEqual(['error'])
  await writeFile(join(dir, 'fleetseal-20261126T120000Z-0123abcd.backup'), 'x')
  expect(await levels('backups', { config: { backup } })).toEqual(['ok'])
})

test('a key-encryption key that others may read, the one before a rotation, or none', async () => {
  expect(await levels('key-encryption-key')).toEqual(['ok'])
  await chmod(config.kekFile, 0o644)
  const [finding] = of(await look(), 'key-encryption-key')
  expect(finding).toMatchObject({ level: 'error', fix: `chmod 600 ${config.kekFile}` })
  await chmod(config.kekFile, 0o600)
  await writeFile(`${config.kekFile}.old`, 'x')
  expect(await levels('key-encryption-key')).toEqual(['ok', 'warning'])
  await rm(`${config.kekFile}.old`)
  // What cannot be looked at is no good sign.
  const kekFile = join(scratch, 'absent')
  expect(await levels('key-encryption-key', { config: { kekFile } })).toEqual(['error'])
})

test('a receiver of webhooks that cannot be reached', async () => {
  expect(await levels('webhooks')).toEqual(['ok'])
  await sql`insert into webhook_endpoint (id, url, description, types, group_ids, state, secret, failing_since, created_by, created_at, changed_at)
    values (gen_random_uuid(), 'https://receiver.example/', '', '{x}', '{}', 'active', '\\x00', now(), 'key:x', now(), now())`.execute(
    handle.db,
  )
  expect(await levels('webhooks')).toEqual(['warning'])
})

test('webhook deliveries that were given up', async () => {
  await sql`update webhook_endpoint set failing_since = null`.execute(handle.db)
  expect(await levels('webhooks')).toEqual(['ok'])
  await sql`alter table webhook_delivery disable trigger all`.execute(handle.db)
  await sql`insert into webhook_delivery (id, endpoint_id, event_id, seq, ordered_by, state, due_at, created_at)
    select gen_random_uuid(), id, gen_random_uuid(), 1, 'x', 'dead', now(), now() from webhook_endpoint`.execute(
    handle.db,
  )
  const [finding] = of(await look(), 'webhooks')
  expect(finding).toMatchObject({ level: 'warning', what: '1 deliveries were given up' })
})

test('more rows that are not sealed than there should be', async () => {
  const before = await levels('audit')
  const { rows } = await sql<{ n: number }>`
    insert into audit_event (at, actor, action, subject, facts)
    select now(), 'system', 'test.do', 'x', '{}' from generate_series(1, 10001) returning 1 as n`.execute(
    handle.db,
  )
  expect(rows).toHaveLength(10_001)
  expect(await levels('audit')).toEqual([...before, 'warning'])
})

test.each([
  ['its folder cannot be made', 'passphrase', 'see the log'],
  ['its key cannot be read', 'absent', 'KEY_FILE cannot be read'],
])('the last backup failed: %s', async (_why, key, told) => {
  const dir = join(scratch, `failing-${key}`)
  const keyFile = join(scratch, key)
  await writeFile(join(scratch, 'passphrase'), 'correct horse battery staple')
  const backup = { dir, keyFile, everyMs: dayMs, keep: 7, includes: ['artifacts'] as const }
  const own = { ...config, backup: { ...backup, includes: [...backup.includes] } }
  await writeFile(dir, 'a file where the folder should be')
  const deps = { db: handle.db, config: own, log: createLogger('silent') }
  const [worker] = backupWorkers({ ...deps, clock: { now: () => then } } as unknown as Context)
  await expect(worker?.step(AbortSignal.timeout(60_000))).rejects.toThrow()
  const found = of(await look({ config: { backup: own.backup } }), 'backups')
  expect(found[0]).toMatchObject({
    level: 'error',
    what: expect.stringMatching(`^The last one failed: .*${told}`) as string,
  })
})

test('a clock that jumped and is not followed is an error', async () => {
  const [finding] = of(await look({ isHeld: true }), 'clock')
  expect(finding).toMatchObject({ level: 'error', what: expect.stringContaining('jumped') })
})

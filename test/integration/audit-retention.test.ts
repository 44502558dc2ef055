import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { type KyselyPlugin, sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import { makeCheckpoint } from '../../server/audit/checkpoints.ts'
import { ensureAuditKey } from '../../server/audit/keys.ts'
import { archiveFolder, archiveOldest } from '../../server/audit/retention.ts'
import { sealBatch } from '../../server/audit/seal.ts'
import { setHold } from '../../server/audit/status.ts'
import { verifyChain } from '../../server/audit/verify.ts'
import { loadConfig } from '../../server/config.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { emptyLog, exportTo, givenRows, tamperWith, verdict } from '../support/audit.ts'
import { createTestDatabase } from '../support/database.ts'

/* Old rows go to an archive, up to a checkpoint; what stays verifies, and with the archive the whole. */
let handle: DatabaseHandle
let api: TestApi
let folder: string
const longAgo = new Date('2020-01-01T00:00:00Z')

beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-archive-'))
  await emptyLog(handle.db)
  const past = { ...api.ctx, clock: { now: () => longAgo } }
  await ensureAuditKey(past)
  await givenRows(handle, 9, { at: longAgo })
  // Ends in row 10.
  await makeCheckpoint(past)
  await givenRows(handle, 5, { at: longAgo, from: 10 })
  return async () => await rm(folder, { recursive: true, force: true })
})

const ctxWith = (days: string | undefined) => ({
  ...api.ctx,
  config: loadConfig({
    FLEETSEAL_DATA_DIR: folder,
    ...(days === undefined ? {} : { FLEETSEAL_AUDIT_DAYS: days }),
  }),
})
const online = async () => await verifyChain(handle, { limit: 100 })
const by = { actor: 'key:1', requestId: 'r' }

test('what is old and was signed goes; the rest verifies, and with the archive everything', async () => {
  const ctx = ctxWith('90')
  expect(await archiveOldest(ctx)).toBe('audit-1-10.ndjson.gz')
  while ((await sealBatch(handle)) > 0);
  await makeCheckpoint(api.ctx)
  expect(await online()).toMatchObject({ ok: true, walked: 6, verifiedTo: 16 })
  const archive = join(archiveFolder(ctx.config), 'audit-1-10.ndjson.gz')
  const rest = join(folder, 'rest.ndjson')
  await exportTo(handle.db, rest)
  const { code, body } = await verdict(archive, rest)
  expect({ code, files: body['files'] }).toMatchObject({
    code: 0,
    files: [
      { from: 1, to: 10, coveredTo: 10 },
      { from: 11, to: 16 },
    ],
  })
  const { rows } = await sql<{ facts: unknown }>`
    select facts from audit_event where action = 'audit.archive'`.execute(handle.db)
  expect(rows).toEqual([{ facts: { from: 1, to: 10, rows: 10, file: 'audit-1-10.ndjson.gz' } }])
  // Again: nothing is left that is old and signed with young rows behind it.
  expect(await archiveOldest(ctxWith('36500'))).toBeUndefined()
  expect((await api.call('GET', '/audit/status')).body).toMatchObject({ begins: 11 })
  expect((await api.call('GET', '/audit/export?after=3')).status).toBe(404)
})

test('a row that is changed at the seam is found', async () => {
  const ctx = ctxWith('90')
  await archiveOldest(ctx)
  await tamperWith(handle.db, `update audit_event set subject = 'x' where chain_no = 11`)
  expect((await online()).firstBreak).toMatchObject({ chainNo: 11, reason: 'changed' })
  await tamperWith(handle.db, 'delete from audit_event where chain_no = 11')
  expect((await online()).firstBreak).toMatchObject({ chainNo: 11, reason: 'missing' })
})

test('without the setting everything stays; under a hold too, until it is lifted', async () => {
  expect(await archiveOldest(ctxWith(undefined))).toBeUndefined()
  const ctx = ctxWith('90')
  await setHold(api.ctx, { held: true, reason: 'an inquiry', ...by })
  expect(await archiveOldest(ctx)).toBeUndefined()
  await expect(sql`select audit_drop(10)`.execute(handle.db)).rejects.toThrow('held')
  expect(await readdir(folder)).toEqual([])
  await setHold(api.ctx, { held: false, reason: 'it is over', ...by })
  expect(await archiveOldest(ctx)).toBe('audit-1-10.ndjson.gz')
})

test('young rows stay, whatever is asked for, and so does the end of the chain', async () => {
  await givenRows(handle, 1, { at: new Date(), from: 100 })
  await makeCheckpoint(api.ctx)
  await expect(sql`select audit_drop(16)`.execute(handle.db)).rejects.toThrow('end of the chain')
  await givenRows(handle, 1, { at: new Date(), from: 101 })
  await expect(sql`select audit_drop(16)`.execute(handle.db)).rejects.toThrow('90 days')
  await expect(sql`select audit_drop(9)`.execute(handle.db)).rejects.toThrow('no checkpoint')
  expect(() => loadConfig({ FLEETSEAL_AUDIT_DAYS: '89' })).toThrow('at least 90 days')
})

test('of two processes one drops', async () => {
  const results = await Promise.all([archiveOldest(ctxWith('90')), archiveOldest(ctxWith('90'))])
  expect(results.filter((name) => name !== undefined)).toHaveLength(1)
  expect(await online()).toMatchObject({ ok: true })
})

test.each([1, 2, 3, 4, 5, 6, 7, 8, 9])(
  'whoever is overtaken after %i statements leaves the archive of the other as it is',
  async (after) => {
    const quick = ctxWith('90')
    let statements = 0
    let archive: string | undefined
    const overtaken: KyselyPlugin = {
      transformQuery: ({ node }) => node,
      transformResult: async ({ result }) => {
        if (++statements === after) archive = await archiveOldest(quick)
        return result
      },
    }
    await archiveOldest({ ...quick, db: handle.db.withPlugin(overtaken) })
    expect(statements).toBeGreaterThanOrEqual(after)
    expect(archive).toBe('audit-1-10.ndjson.gz')
    while ((await sealBatch(handle)) > 0);
    await makeCheckpoint(api.ctx)
    const rest = join(folder, 'rest.ndjson')
    await exportTo(handle.db, rest)
    const whole = join(archiveFolder(quick.config), 'audit-1-10.ndjson.gz')
    const { code, body } = await verdict(whole, rest)
    expect({ code, files: body['files'] }).toMatchObject({
      code: 0,
      files: [{ from: 1, to: 10, coveredTo: 10 }, { from: 11 }],
    })
    expect(await readdir(archiveFolder(quick.config))).toEqual(['audit-1-10.ndjson.gz'])
  },
)

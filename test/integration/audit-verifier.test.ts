import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import { checkpointWorkers, makeCheckpoint } from '../../server/audit/checkpoints.ts'
import { ensureAuditKey, rotateAuditKey } from '../../server/audit/keys.ts'
import { verifyChain } from '../../server/audit/verify.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { startApi, type TestApi } from '../support/api.ts'
import {
  chainAnew,
  emptyLog,
  exportTo,
  givenLog,
  givenRows,
  tamperWith,
  verdict,
} from '../support/audit.ts'
import { createTestDatabase } from '../support/database.ts'

/* Somebody with the password of the database's owner changes it by hand: each is found, with the place, online and in an export without the server. */
let handle: DatabaseHandle
let api: TestApi
let folder: string
let note: string
let key: string
const file = (name: string) => join(folder, name)

beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-audit-'))
  await emptyLog(handle.db)
  await ensureAuditKey(api.ctx)
  // The row of the key is the first one.
  note = await givenLog(api.ctx)
  key = keyIn(await exportTo(handle.db, file('before.ndjson')))
  await writeFile(file('kept.txt'), note)
  return async () => await rm(folder, { recursive: true, force: true })
})

const keyIn = (text: string) => /"key":"([^"]+)"/.exec(text)?.[1] ?? ''
const online = async () => {
  const { ok, firstBreak } = await verifyChain(handle, { limit: 100_000 })
  return ok ? 'ok' : `${firstBreak?.reason} ${firstBreak?.chainNo}`
}

test('the honest log holds, and it is said how far it was signed', async () => {
  expect(await online()).toBe('ok')
  for (const words of [[], ['--key', key], ['--key', key, '--checkpoint', file('kept.txt')]]) {
    const { code, body } = await verdict(file('before.ndjson'), ...words)
    expect(code).toBe(0)
    expect(body).toMatchObject({ ok: true, isKeyPinned: words.length > 0 })
    expect(body['files']).toMatchObject([{ rows: 11, to: 11, coveredTo: 9 }])
  }
  // Two exports of one log agree, wherever they begin.
  await givenRows(handle, 3, { from: 11 })
  await exportTo(handle.db, file('later.ndjson'), { after: 5 })
  expect(await verdict(file('before.ndjson'), file('later.ndjson'))).toMatchObject({ code: 0 })
})

const attacks: [what: string, changes: string[], found: string[], online: string][] = [
  ['a row is deleted', ['delete from audit_event where chain_no = 5'], ['missing 5'], 'missing 5'],
  [
    'a row is changed',
    [`update audit_event set actor = 'key:2' where chain_no = 5`],
    ['changed 5'],
    'changed 5',
  ],
  [
    'where a row came from is changed',
    [`update audit_event set origin = '{"address":"192.0.2.2"}' where chain_no = 5`],
    ['changed 5'],
    'changed 5',
  ],
  [
    'two rows are swapped',
    [
      'update audit_event set chain_no = 0 where chain_no = 4',
      'update audit_event set chain_no = 4 where chain_no = 6',
      'update audit_event set chain_no = 6 where chain_no = 0',
    ],
    ['wrong-previous 4', 'wrong-previous 5', 'wrong-previous 6', 'wrong-previous 7'],
    'wrong-previous 4',
  ],
  [
    'what two rows say is swapped',
    [
      `update audit_event a set subject = b.subject, facts = b.facts from audit_event b
         where (a.chain_no, b.chain_no) in ((4, 6), (6, 4))`,
    ],
    ['changed 4', 'changed 6'],
    'changed 4',
  ],
  [
    'the tail is cut off before a checkpoint',
    ['delete from audit_event where chain_no > 7'],
    ['cut-off 8', 'unsigned 7'],
    'cut-off 8',
  ],
  [
    'a checkpoint is put at another place',
    ['update audit_checkpoint set chain_no = 8'],
    ['cut-off 9', 'unsigned 11'],
    'wrong-signature 8',
  ],
  [
    'a checkpoint is changed',
    [`update audit_checkpoint set note = replace(note, 'at 2', 'at 3')`],
    ['wrong-signature 9', 'unsigned 11'],
    'wrong-signature 9',
  ],
]
for (const [what, changes, found, foundOnline] of attacks) {
  test(`${what}: found, with its place`, async () => {
    await tamperWith(handle.db, ...changes)
    expect(await online()).toBe(foundOnline)
    await exportTo(handle.db, file('after.ndjson'))
    const { code, findings } = await verdict(file('after.ndjson'), '--key', key)
    expect({ code, findings }).toEqual({ code: 1, findings: found })
  })
}

test('a chain that was made anew with all its hashes is not the one that was signed', async () => {
  await tamperWith(handle.db, `update audit_event set actor = 'key:2' where chain_no = 5`)
  await chainAnew(handle.db)
  expect(await online()).toBe('forked 9')
  await exportTo(handle.db, file('after.ndjson'))
  expect((await verdict(file('after.ndjson'))).findings).toEqual(['forked 9', 'unsigned 11'])
  // The older export says where the two histories part.
  const both = await verdict(file('before.ndjson'), file('after.ndjson'))
  expect(both.findings).toContain('forked 5')
})

test('with its checkpoints taken away too, one that was kept elsewhere shows it', async () => {
  await tamperWith(
    handle.db,
    `update audit_event set actor = 'key:2' where chain_no = 5`,
    'delete from audit_checkpoint',
  )
  await chainAnew(handle.db)
  // All by itself the database cannot know: nothing in it says otherwise.
  expect(await online()).toBe('ok')
  await exportTo(handle.db, file('after.ndjson'))
  expect((await verdict(file('after.ndjson'))).findings).toEqual(['unsigned 11'])
  const kept = await verdict(file('after.ndjson'), '--checkpoint', file('kept.txt'))
  expect(kept.findings).toEqual(['forked 9', 'unsigned 11'])
})

test('a tail that is cut off with its checkpoints shows against one that was kept', async () => {
  await tamperWith(
    handle.db,
    'delete from audit_event where chain_no > 6',
    'delete from audit_checkpoint',
  )
  await makeCheckpoint(api.ctx)
  await exportTo(handle.db, file('after.ndjson'))
  expect(await verdict(file('after.ndjson'), '--key', key)).toMatchObject({ code: 0 })
  const kept = await verdict(file('after.ndjson'), '--checkpoint', file('kept.txt'))
  expect(kept).toMatchObject({ code: 1, findings: ['cut-off 7'] })
})

test('a log that somebody signed with a key of his own is refused by whoever holds the right one', async () => {
  await tamperWith(
    handle.db,
    `update audit_event set actor = 'key:2' where chain_no = 5`,
    'delete from audit_checkpoint',
    'delete from audit_key',
  )
  await chainAnew(handle.db)
  await ensureAuditKey({ ...api.ctx, kek: Buffer.alloc(32, 7) })
  await makeCheckpoint({ ...api.ctx, kek: Buffer.alloc(32, 7) })
  await exportTo(handle.db, file('after.ndjson'))
  expect((await verdict(file('after.ndjson'))).body).toMatchObject({ ok: true, isKeyPinned: false })
  expect((await verdict(file('after.ndjson'), '--key', key)).code).toBe(1)
})

test('a key that was replaced is followed from the one before, and not without its signature', async () => {
  const by = { actor: 'key:1', requestId: 'r' }
  await rotateAuditKey(api.ctx, { id: newId(api.ctx.clock.now()), ...by })
  await givenRows(handle, 3, { from: 11 })
  await makeCheckpoint(api.ctx)
  await exportTo(handle.db, file('after.ndjson'))
  const followed = await verdict(file('after.ndjson'), '--key', key)
  expect(followed).toMatchObject({ code: 0, body: { files: [{ coveredTo: 15 }] } })
  await tamperWith(handle.db, `update audit_key set endorsement = null`)
  await exportTo(handle.db, file('alone.ndjson'))
  const alone = await verdict(file('alone.ndjson'), '--key', key)
  expect(alone).toMatchObject({ code: 0, body: { files: [{ coveredTo: 9 }] } })
  await tamperWith(
    handle.db,
    `update audit_key set endorsement = (select replace(note, 'at', 'at') from audit_checkpoint limit 1) where retired_at is null`,
  )
  await exportTo(handle.db, file('forged.ndjson'))
  const forged = await verdict(file('forged.ndjson'), '--key', key)
  expect(forged).toMatchObject({ code: 1, findings: ['wrong-signature 0'] })
})

test('an export that breaks off is incomplete, and one of something else is none', async () => {
  const text = await exportTo(handle.db, file('after.ndjson'))
  await truncate(file('after.ndjson'), Buffer.byteLength(text) - 20)
  expect((await verdict(file('after.ndjson'))).findings).toEqual(['incomplete 11'])
  await writeFile(file('other.ndjson'), '{"some":"thing"}\n')
  expect((await verdict(file('other.ndjson'))).code).toBe(1)
  await writeFile(file('empty.ndjson'), '')
  expect((await verdict(file('empty.ndjson'))).code).toBe(1)
})

const broken = async () =>
  (
    await handle.db
      .selectFrom('security_event')
      .select(['severity', 'facts'])
      .where('kind', '=', 'audit-broken')
      .orderBy('id')
      .execute()
  ).map(({ severity, facts }) => ({ severity, facts }))

/** As the worker that signs does when something is due. */
const sign = async () => {
  for (const worker of checkpointWorkers(api.ctx)) await worker.step(AbortSignal.abort())
}

test('a log that does not hold is a critical event, once, by whoever finds it first', async () => {
  await handle.db.deleteFrom('security_event').execute()
  await api.call('GET', '/audit/verify')
  await sign()
  expect(await broken()).toEqual([])
  await tamperWith(handle.db, `update audit_event set actor = 'key:2' where chain_no = 10`)
  for (let n = 0; n < 2; n++) await api.call('GET', '/audit/verify')
  const changed = { severity: 'critical', facts: { chainNo: 10, reason: 'changed' } }
  expect(await broken()).toEqual([changed])
  await givenRows(handle, 1_000, { from: 11 })
  await sign()
  expect(await broken()).toEqual([changed])
  await tamperWith(handle.db, 'delete from audit_event where chain_no >= 500')
  for (let n = 0; n < 2; n++) await sign()
  const cut = { severity: 'critical', facts: { chainNo: 1011, reason: 'cut-off' } }
  expect(new Set(await broken())).toEqual(new Set([changed, cut]))
  expect(await broken()).toHaveLength(2)
})

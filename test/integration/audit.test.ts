import { createHash } from 'node:crypto'

import { sql } from 'kysely'
import { expect } from 'vitest'

import { recordAudits } from '../../server/audit/audit.ts'
import { auditWorkers, sealBatch } from '../../server/audit/seal.ts'
import { verifyChain } from '../../server/audit/verify.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { withOrigin } from '../../server/request-origin.ts'
import { type DatabaseWorld, onBothDatabases } from '../support/both-databases.ts'

const at = new Date('2030-01-01T00:00:00.123Z')
const everything = { after: 0, limit: 100_000 }

async function record(handle: DatabaseHandle, count: number, from = 0): Promise<void> {
  await inTransaction(handle.db, (tx) =>
    recordAudits(
      tx,
      Array.from({ length: count }, (_, n) => ({
        at,
        actor: n % 2 === 0 ? 'system' : 'key:1',
        action: 'test.do',
        subject: `subject-${from + n}`,
        facts: { n: from + n, text: 'äöü "quoted"', deep: { b: 1.5, a: [true, null] } },
        requestId: 'request-1',
      })),
    ),
  )
}

/** What somebody with the database's password could do: the trigger out of the way, then a change. */
async function tamper(handle: DatabaseHandle, change: string): Promise<void> {
  for (const statement of [
    'alter table audit_event disable trigger user',
    change,
    'alter table audit_event enable trigger user',
  ]) {
    await sql.raw(statement).execute(handle.db)
  }
}

const both = onBothDatabases()

/** On an empty log. */
function chainTest(name: string, work: (world: DatabaseWorld) => Promise<void>): void {
  both(name, async (world) => {
    await tamper(world.handle, 'truncate audit_event restart identity')
    await work(world)
  })
}

chainTest('rows are chained in batches, and the chain holds', async ({ handle }) => {
  await record(handle, 1_203)
  expect(await verifyChain(handle, everything)).toMatchObject({
    ok: true,
    walked: 0,
    unsealed: 1_203,
  })
  const sealed: number[] = []
  for (let count = await sealBatch(handle); count > 0; count = await sealBatch(handle))
    sealed.push(count)
  expect(sealed).toEqual([500, 500, 203])
  const report = await verifyChain(handle, everything)
  expect(report).toMatchObject({
    ok: true,
    walked: 1_203,
    verifiedTo: 1_203,
    unsealed: 0,
    more: false,
    firstBreak: null,
  })
  // In parts, each going on from the place and hash of the one before.
  expect(await verifyChain(handle, { after: 0, limit: 700 })).toMatchObject({
    verifiedTo: 700,
    more: true,
  })
  const second = await verifyChain(handle, { after: 700, limit: 700 })
  expect(second).toMatchObject({ walked: 503, more: false })
  expect(second.head).toEqual(report.head)
})

const changes: [what: string, change: string, chainNo: number, reason: string][] = [
  ['facts', `update audit_event set facts = '{"n":0}' where chain_no = 5`, 5, 'changed'],
  [
    'a number far behind the point',
    `update audit_event set facts = facts || '{"n":4.0000000000000000001}' where chain_no = 5`,
    5,
    'changed',
  ],
  [
    'a microsecond',
    `update audit_event set at = at + interval '1 microsecond' where chain_no = 5`,
    5,
    'changed',
  ],
  ['who', `update audit_event set actor = 'nobody' where chain_no = 5`, 5, 'changed'],
  ['a row taken out', `delete from audit_event where chain_no = 5`, 5, 'missing'],
  ['the first row taken out', `delete from audit_event where chain_no = 1`, 1, 'missing'],
  [
    'a hash made anew without those after it',
    `update audit_event set hash = sha256('x') where chain_no = 5`,
    5,
    'changed',
  ],
  [
    'a previous hash',
    `update audit_event set prev_hash = sha256('x') where chain_no = 5`,
    5,
    'wrong-previous',
  ],
]
for (const [what, change, chainNo, reason] of changes) {
  chainTest(`${what}: the change is found where it is`, async ({ handle }) => {
    await record(handle, 10)
    await sealBatch(handle)
    expect((await verifyChain(handle, everything)).ok).toBe(true)
    await tamper(handle, change)
    expect(await verifyChain(handle, everything)).toMatchObject({
      ok: false,
      verifiedTo: chainNo - 1,
      firstBreak: { chainNo, reason },
    })
  })
}

chainTest(
  'a tail cut off does not show by itself, but against a place kept elsewhere',
  async ({ handle }) => {
    await record(handle, 10)
    await sealBatch(handle)
    const kept = await verifyChain(handle, everything)
    await tamper(handle, 'delete from audit_event where chain_no > 8')
    const now = await verifyChain(handle, everything)
    expect(now.ok).toBe(true)
    expect(now.verifiedTo).toBeLessThan(kept.verifiedTo)
    await expect(verifyChain(handle, { after: kept.verifiedTo, limit: 1 })).rejects.toMatchObject({
      code: 'not-found',
    })
  },
)

chainTest('the table refuses changes and removal by itself', async ({ handle }) => {
  await record(handle, 2)
  await sealBatch(handle)
  for (const change of [
    `update audit_event set actor = 'nobody' where chain_no = 1`,
    `update audit_event set hash = sha256('x') where chain_no = 1`,
    `delete from audit_event where chain_no = 1`,
  ]) {
    await expect(sql.raw(change).execute(handle.db)).rejects.toThrow('append-only')
  }
})

chainTest('many sealers at once make one chain', async ({ handle }) => {
  await record(handle, 900)
  const sealers = Array.from({ length: 4 }, async () => {
    for (let n = 0; n < 6; n++) await sealBatch(handle)
  })
  await Promise.all([...sealers, record(handle, 300, 900)])
  while ((await sealBatch(handle)) > 0);
  expect(await verifyChain(handle, everything)).toMatchObject({
    ok: true,
    walked: 1_200,
    unsealed: 0,
  })
})

chainTest('the worker says when there is more', async ({ handle }) => {
  await record(handle, 501)
  const [worker] = auditWorkers(handle)
  const step = async () => await worker?.step(new AbortController().signal)
  expect([await step(), await step(), await step()]).toEqual([true, false, false])
})

chainTest(
  'a row whose transaction commits late is sealed late, not lost',
  async ({ handle, kind }) => {
    // One connection has no transaction beside another.
    if (kind === 'PGlite') return
    const { promise: hold, resolve: release } = Promise.withResolvers<void>()
    const { promise: inserted, resolve: told } = Promise.withResolvers<void>()
    const late = inTransaction(handle.db, async (tx) => {
      await recordAudits(tx, [{ at, actor: 'late', action: 'test.late', subject: 's', facts: {} }])
      told()
      await hold
    })
    await inserted
    await record(handle, 3)
    await sealBatch(handle)
    release()
    await late
    await sealBatch(handle)
    const { rows } = await sql<{
      seq: number
      chain_no: number
    }>`select seq, chain_no from audit_event order by seq`.execute(handle.db)
    expect(rows.map(({ chain_no }) => Number(chain_no))).toEqual([4, 1, 2, 3])
    expect(await verifyChain(handle, everything)).toMatchObject({ ok: true, walked: 4 })
  },
)

chainTest('over REST: lists, filters, pages and verifies', async ({ handle, api }) => {
  await record(handle, 7)
  await sealBatch(handle)
  const page = await api.call('GET', '/audit?limit=5', undefined, {
    key: api.keys.auditor.secret,
  })
  expect(page.body.items).toHaveLength(5)
  const next = await api.call('GET', `/audit?limit=5&cursor=${String(page.body['nextCursor'])}`)
  expect(next.body.items?.map((row) => row['subject'])).toEqual(['subject-1', 'subject-0'])
  expect(next.body['nextCursor']).toBeNull()
  const one = await api.call('GET', '/audit?subject=subject-3&actor=key:1&action=test.do')
  expect(one.body.items).toHaveLength(1)
  expect(one.body.items?.[0]).toMatchObject({
    chainNo: 4,
    requestId: 'request-1',
    facts: { n: 3 },
  })
  expect((await api.call('GET', '/audit/verify')).body).toMatchObject({ ok: true, walked: 7 })
  expect((await api.call('GET', '/audit/verify?after=99')).status).toBe(404)
})

chainTest('rows from before origins were recorded keep the hash they have', async ({ handle }) => {
  await record(handle, 3)
  await tamper(handle, 'update audit_event set format = 1')
  await sealBatch(handle)
  await record(handle, 2, 3)
  await sealBatch(handle)
  expect(await verifyChain(handle, everything)).toMatchObject({ ok: true, walked: 5 })
  const { rows } = await sql<{ chain_no: number; prev_hash: Buffer; hash: Buffer; text: string }>`
    select chain_no, prev_hash, hash, subject as text from audit_event order by chain_no`.execute(
    handle.db,
  )
  const known = [1, 0, '2030-01-01T00:00:00.123000Z', 'system', 'test.do', 'subject-0']
  const facts = '{"n": 0, "deep": {"a": [true, null], "b": 1.5}, "text": "äöü \\"quoted\\""}'
  const { rows: seqs } = await sql<{
    seq: number
  }>`select min(seq) as seq from audit_event`.execute(handle.db)
  const array = [...known, facts, 'request-1'].with(1, Number(seqs[0]?.seq))
  expect(rows[0]?.hash.toString('hex')).toBe(
    createHash('sha256').update(Buffer.alloc(32)).update(JSON.stringify(array)).digest('hex'),
  )
})

chainTest('a row says where its request came from, and the hash covers that', async (world) => {
  const { handle, api } = world
  const made = await api.call(
    'POST',
    '/api-keys',
    { name: 'one', role: 'viewer' },
    {
      headers: { 'X-Request-Id': 'request-origin-1', 'User-Agent': 'a test \u00e9' },
    },
  )
  expect(made.status).toBe(201)
  const { body } = await api.call('GET', '/audit?action=api-key.create')
  expect(body.items?.[0]).toMatchObject({
    requestId: 'request-origin-1',
    origin: { address: '127.0.0.1', credential: 'api-key', userAgent: 'a test é' },
  })
  await sealBatch(handle)
  await tamper(handle, `update audit_event set origin = origin || '{"address":"192.0.2.1"}'`)
  expect(await verifyChain(handle, everything)).toMatchObject({
    ok: false,
    firstBreak: { reason: 'changed' },
  })
})

chainTest('what a request does for another one is not given its address', async ({ handle }) => {
  await withOrigin('request-a', { address: '192.0.2.7' }, async () => {
    await inTransaction(handle.db, (tx) =>
      recordAudits(
        tx,
        ['request-a', 'request-b'].map((requestId) => ({
          at,
          actor: 'key:1',
          action: 'test.do',
          subject: 's',
          facts: {},
          requestId,
        })),
      ),
    )
  })
  const { rows } = await sql<{
    origin: unknown
  }>`select origin from audit_event order by seq`.execute(handle.db)
  expect(rows.map(({ origin }) => origin)).toEqual([
    { address: '192.0.2.7', credential: 'api-key' },
    null,
  ])
})

import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { connectPostgres, type DatabaseHandle } from '../../server/db/client.ts'
import { migrateToLatest } from '../../server/db/migrate.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { asDomainError } from '../../server/http/problem.ts'
import { createEmbeddedDatabase, createTestDatabase } from '../support/database.ts'

describe.each([
  ['PostgreSQL', createTestDatabase],
  ['PGlite', createEmbeddedDatabase],
])('%s', (_name, create) => {
  let handle: DatabaseHandle
  beforeAll(async () => {
    handle = await create()
  })
  afterAll(() => handle[Symbol.asyncDispose]())

  test('migrates once', async () => {
    expect(await migrateToLatest(handle)).toEqual([])
  })

  test('gives numbers, buffers and dates whatever the driver', async () => {
    const { rows } = await sql`
      select 5::bigint as big, 2.5::numeric(6, 3) as num, '\\x0102'::bytea as bytes, now() as at,
        array['a', 'b']::text[] as texts, '{"a":1}'::jsonb as json,
        ${Buffer.from([7])}::bytea as echo, ${['x', 'y']}::text[] as list`.execute(handle.db)
    expect(rows).toEqual([
      {
        big: 5,
        num: 2.5,
        bytes: Buffer.from([1, 2]),
        at: expect.any(Date),
        texts: ['a', 'b'],
        json: { a: 1 },
        echo: Buffer.from([7]),
        list: ['x', 'y'],
      },
    ])
  })

  test('keeps parallel transactions and reads apart', async () => {
    const { db } = handle
    const at = new Date()
    const write = (n: number, fail: boolean) =>
      inTransaction(db, async (tx) => {
        await tx
          .insertInto('audit_event')
          .values({ at, actor: 'system', action: 'test.write', subject: String(n), facts: '{}' })
          .execute()
        await new Promise((resolve) => setTimeout(resolve, 5))
        if (fail) throw new Error('on purpose')
      })
    const read = () => db.selectFrom('audit_event').select('subject').execute()
    const settled = await Promise.allSettled(
      Array.from({ length: 12 }, (_, n) => [write(n, n % 3 === 0), read()]).flat(),
    )
    expect(settled.filter(({ status }) => status === 'rejected')).toHaveLength(4)
    expect((await read()).map((row) => Number(row.subject)).toSorted((a, b) => a - b)).toEqual([
      1, 2, 4, 5, 7, 8, 10, 11,
    ])
  })

  test('refuses to change an audit row', async () => {
    await expect(sql`update audit_event set actor = 'other'`.execute(handle.db)).rejects.toThrow(
      'append-only',
    )
    await expect(sql`delete from audit_event`.execute(handle.db)).rejects.toThrow('append-only')
  })

  test('a query that outlives its transaction is refused', async () => {
    let late: (() => Promise<unknown>) | undefined
    await inTransaction(handle.db, async (tx) => {
      late = () => sql`select 1`.execute(tx)
    })
    await expect(late?.()).rejects.toThrow('Query issued after its transaction ended')
  })
})

describe('a PostgreSQL connection', () => {
  let handle: DatabaseHandle
  let bounded: DatabaseHandle
  beforeAll(async () => {
    handle = await createTestDatabase()
    if (handle.kind !== 'postgres') throw new Error('not PostgreSQL')
    bounded = connectPostgres(handle.url, { max: 1, statementMs: 1_000, idleMs: 200 })
  })
  afterAll(async () => {
    await bounded[Symbol.asyncDispose]()
    await handle[Symbol.asyncDispose]()
  })

  test('does not wait for a statement without end, and says 503', async () => {
    const error: unknown = await sql`select pg_sleep(60)`
      .execute(bounded.db)
      .catch((e: unknown) => e)
    expect(error).toMatchObject({ code: '57014' })
    expect(asDomainError(error)).toMatchObject({ code: 'busy' })
    expect((await sql`select 1 as one`.execute(bounded.db)).rows).toEqual([{ one: 1 }])
  })

  test('that was cut is 503 to whoever used it, and replaced', async () => {
    const running = sql`select pg_sleep(60)`.execute(bounded.db).catch((e: unknown) => e)
    await expect
      .poll(async () => {
        const { rows } = await sql<{ cut: boolean }>`select pg_terminate_backend(pid) as cut
          from pg_stat_activity where datname = current_database() and query like 'select pg_sleep%'
            and state = 'active' and pid <> pg_backend_pid()`.execute(handle.db)
        return rows.length
      })
      .toBe(1)
    expect(asDomainError(await running)).toMatchObject({ code: 'busy' })
    for (const message of [
      'Connection terminated unexpectedly',
      'timeout exceeded when trying to connect',
    ]) {
      expect(asDomainError(new Error(message))).toMatchObject({ code: 'busy' })
    }
    expect(asDomainError(new Error('something else'))).toBeUndefined()
    // The pool hears of it a moment later than whoever used the connection.
    const again = () => sql`select 1 as one`.execute(bounded.db).catch(() => ({ rows: [] }))
    await expect.poll(async () => (await again()).rows).toEqual([{ one: 1 }])
  })

  test('does not keep what a forgotten transaction has locked', async () => {
    const locked = Promise.withResolvers<void>()
    const never = Promise.withResolvers<void>()
    const forgotten = inTransaction(bounded.db, async (tx) => {
      await sql`select pg_advisory_xact_lock(77)`.execute(tx)
      locked.resolve()
      await never.promise
      await sql`select 1`.execute(tx)
    })
    await locked.promise
    // Without the limit this would wait until the test is given up.
    await inTransaction(handle.db, async (tx) => {
      await sql`select pg_advisory_xact_lock(77)`.execute(tx)
    })
    never.resolve()
    await expect(forgotten).rejects.toThrow()
  })

  test('has both limits unless told otherwise', async () => {
    const { rows } = await sql`select current_setting('statement_timeout') as statement,
      current_setting('idle_in_transaction_session_timeout') as idle`.execute(handle.db)
    expect(rows).toEqual([{ statement: '30s', idle: '20s' }])
  })
})

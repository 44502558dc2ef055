import type { KyselyPlugin } from 'kysely'
import { describe, expect, test } from 'vitest'

import type { Db, Tx } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { ChangeFeed } from '../../server/devices/change-feed.ts'
import { identityHorizon, recordIdentityChanges } from '../../server/devices/identity-change.ts'
import { newId } from '../../server/ids.ts'
import { createWorlds, kinds } from '../support/two-worlds.ts'

const worldOn = createWorlds()

/** A feed that counts the rows it is given, and says what it handed over. */
async function newFeed(db: Db) {
  let rows = 0
  const counting: KyselyPlugin = {
    transformQuery: ({ node }) => node,
    transformResult: async ({ result }) => {
      rows += result.rows.filter((row) => 'seq' in row && row['seq'] !== null).length
      return result
    },
  }
  const feed = new ChangeFeed({ db: db.withPlugin(counting) })
  feed.begin(await identityHorizon(db))
  // What others wrote while some transaction anywhere in the cluster was running may come again.
  await feed.read(async () => {})
  return {
    read: async () => {
      const found: string[] = []
      await feed.read(async ({ deviceIds }) => void found.push(...deviceIds))
      return found.toSorted()
    },
    failing: async () =>
      await feed.read(async () => await Promise.reject(new Error('could not be applied'))),
    /** How many rows a read is given that finds nothing new. */
    rowsOfOneMore: async () => {
      rows = 0
      await feed.read(async () => await Promise.reject(new Error('nothing is new')))
      return rows
    },
  }
}

const now = new Date('2026-11-26T00:00:00Z')
const ids = (count: number) => Array.from({ length: count }, () => newId(now))
const write = async (db: Db, deviceIds: readonly string[]) =>
  await inTransaction(db, (tx) => recordIdentityChanges(tx, { deviceIds, now }))

/** A transaction that wrote and is not over. */
async function open(db: Db, work: (tx: Tx) => Promise<void>) {
  const written = Promise.withResolvers<void>()
  const end = Promise.withResolvers<boolean>()
  const over = inTransaction(db, async (tx) => {
    await work(tx)
    written.resolve()
    if (!(await end.promise)) throw new Error('given up')
  }).catch(() => {})
  await written.promise
  return async (commits: boolean) => {
    end.resolve(commits)
    await over
  }
}

describe.each(kinds)('the feed of changes on %s', (kind) => {
  test('hands over each change once, and reads nothing twice when nothing runs', async () => {
    const { db } = worldOn(kind).world.ctx
    const feed = await newFeed(db)
    const many = ids(2_500)
    await write(db, many)
    expect(await feed.read()).toEqual(many.toSorted())
    // As soon as nothing older runs, and other tests use the same cluster.
    await expect.poll(feed.rowsOfOneMore, { timeout: 60_000 }).toBeLessThan(10)
    const [one = ''] = ids(1)
    await write(db, [one])
    expect(await feed.read()).toEqual([one])
    expect(await feed.read()).toEqual([])
  })

  test('what could not be applied is handed over again', async () => {
    const { db } = worldOn(kind).world.ctx
    const feed = await newFeed(db)
    const some = ids(3)
    await write(db, some)
    await expect(feed.failing()).rejects.toThrow('could not be applied')
    expect(await feed.read()).toEqual(some.toSorted())
    expect(await feed.read()).toEqual([])
  })
})

describe('the feed of changes, transactions at the same time', () => {
  test('one that began first and commits last is not stepped over, nor is one that is given up missed', async () => {
    const { db } = worldOn('PostgreSQL').world.ctx
    const feed = await newFeed(db)
    const [early = '', lost = '', quick = '', later = ''] = ids(4)
    const endEarly = await open(db, (tx) => recordIdentityChanges(tx, { deviceIds: [early], now }))
    const endLost = await open(db, (tx) => recordIdentityChanges(tx, { deviceIds: [lost], now }))
    await write(db, [quick])
    expect(await feed.read()).toEqual([quick])
    await endLost(false)
    expect(await feed.read()).toEqual([])
    await write(db, [later])
    expect(await feed.read()).toEqual([later])
    await endEarly(true)
    expect(await feed.read()).toEqual([early])
    expect(await feed.read()).toEqual([])
    await expect.poll(feed.rowsOfOneMore, { timeout: 60_000 }).toBeLessThan(4)
  })

  test('a transaction that took its number before the feed began and writes after it is read', async () => {
    const { db } = worldOn('PostgreSQL').world.ctx
    const [first = '', second = ''] = ids(2)
    const written = Promise.withResolvers<void>()
    const goOn = Promise.withResolvers<void>()
    const over = inTransaction(db, async (tx) => {
      await recordIdentityChanges(tx, { deviceIds: [first], now })
      written.resolve()
      await goOn.promise
      await recordIdentityChanges(tx, { deviceIds: [second], now })
    })
    await written.promise
    const feed = await newFeed(db)
    expect(await feed.read()).toEqual([])
    goOn.resolve()
    await over
    expect(await feed.read()).toEqual([first, second].toSorted())
  })
})

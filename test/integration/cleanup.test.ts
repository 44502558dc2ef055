import { expect } from 'vitest'

import { inTransaction } from '../../server/db/transaction.ts'
import { recordIdentityChanges } from '../../server/devices/identity-change.ts'
import { newId } from '../../server/ids.ts'
import { cleanupWorkers } from '../../server/workers/cleanup.ts'
import { onBothDatabases } from '../support/both-databases.ts'

const both = onBothDatabases()
const day = 86_400

both('old keys and changes are forgotten in batches, young ones stay', async ({ handle, api }) => {
  const { clock } = api.ctx
  const deviceIds = Array.from({ length: 1_001 }, () => newId(clock.now()))
  const count = async (table: 'idempotency' | 'identity_change') =>
    (
      await handle.db
        .selectFrom(table)
        .select((eb) => eb.lit(1).as('one'))
        .execute()
    ).length
  const workers = new Map(cleanupWorkers(api.ctx).map((worker) => [worker.name, worker]))
  const step = async (name: string) => await workers.get(name)?.step(new AbortController().signal)

  await inTransaction(handle.db, (tx) => recordIdentityChanges(tx, { deviceIds, now: clock.now() }))
  const post = async (key: string) =>
    await api.call('POST', '/groups', { name: key }, { headers: { 'Idempotency-Key': key } })
  expect((await post('first')).status).toBe(201)

  clock.advance({ seconds: day + 1 })
  await inTransaction(handle.db, (tx) =>
    recordIdentityChanges(tx, { deviceIds: deviceIds.slice(0, 3), now: clock.now() }),
  )
  expect([await step('cleanup-identity-changes'), await step('cleanup-identity-changes')]).toEqual([
    true,
    false,
  ])
  expect(await count('identity_change')).toBe(3)

  clock.advance({ seconds: 5 * day })
  expect((await post('second')).status).toBe(201)
  expect(await step('cleanup-idempotency')).toBe(false)
  expect(await count('idempotency')).toBe(2)
  clock.advance({ seconds: day })
  expect(await step('cleanup-idempotency')).toBe(false)
  expect(await count('idempotency')).toBe(1)
  // A repetition within its days still makes nothing twice.
  expect((await post('second')).status).toBe(201)
  expect(await count('idempotency')).toBe(1)
})

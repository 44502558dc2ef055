import { expect } from 'vitest'

import { inTransaction } from '../../server/db/transaction.ts'
import { recordIdentityChanges } from '../../server/devices/identity-change.ts'
import { recordEvents, type SecurityEvent } from '../../server/events/record.ts'
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

both('events are forgotten after as many days as were configured', async ({ handle, api }) => {
  const { clock, config } = api.ctx
  const record = async (kind: string, count: number) => {
    const event: SecurityEvent = { source: 'server', kind, severity: 'info', facts: {} }
    const events = Array.from({ length: count }, () => event)
    await inTransaction(handle.db, (tx) => recordEvents(tx, clock.now(), events))
  }
  const left = async () => {
    const { body } = await api.call('GET', '/events')
    return (body as { items: { kind: string }[] }).items.map(({ kind }) => kind)
  }
  const ctx = { ...api.ctx, config: { ...config, eventDays: 30 } }
  const worker = cleanupWorkers(ctx).find(({ name }) => name === 'cleanup-events')
  const step = async () => await worker?.step(new AbortController().signal)

  await record('old-event', 1_001)
  clock.advance({ seconds: 30 * day })
  await record('young-event', 1)
  expect(await step()).toBe(false)
  expect(await left()).toContain('old-event')
  clock.advance({ seconds: 1 })
  expect([await step(), await step(), await step()]).toEqual([true, false, false])
  expect(await left()).toEqual(['young-event'])
})

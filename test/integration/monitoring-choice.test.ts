import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { storeChoices } from '../../server/deployments/choice.ts'
import { storeHellos } from '../../server/devices/hello.ts'
import { eventMessages } from '../../server/events/messages.ts'
import { recordEvents, type SecurityEvent } from '../../server/events/record.ts'
import { Hello } from '../../server/protocol/messages.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

let handle: DatabaseHandle
let api: TestApi
beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

async function givenDevice(): Promise<string> {
  const serialNumber = crypto.randomUUID()
  return String((await api.call('POST', '/devices', { serialNumber })).body['id'])
}

type Word = 'monitorOff' | 'monitorOn'
const choose = async (...said: [deviceId: string, choice: Word][]) =>
  await inTransaction(handle.db, (tx) =>
    storeChoices(
      tx,
      said.map(([deviceId, choice]) => ({ deviceId, body: { choice } })),
      api.ctx.clock.now(),
    ),
  )

const [handler] = eventMessages
async function report(...deviceIds: string[]): Promise<void> {
  const body = { kind: 'login-failed', severity: 'warning', at: api.ctx.clock.now().toISOString() }
  await inTransaction(handle.db, async (tx) => {
    const messages = deviceIds.map((deviceId) => ({ deviceId, body }))
    await handler?.store({ tx, ctx: api.ctx, now: api.ctx.clock.now(), messages })
  })
}

async function hello(deviceId: string, monitoring?: boolean): Promise<void> {
  const body = Hello.parse({
    agent: 'a',
    model: 'm',
    hardwareIds: ['h'],
    installed: [],
    nonce: '0'.repeat(32),
    ...(monitoring === undefined ? {} : { monitoring }),
  })
  await inTransaction(handle.db, (tx) => storeHellos(tx, [{ deviceId, body }], api.ctx.clock.now()))
}

const eventsOf = async (deviceId: string) =>
  ((await api.call('GET', `/events?deviceId=${deviceId}`)).body.items ?? []).map((one) =>
    String(one['kind']),
  )
const ledgerOf = async (deviceId: string) =>
  ((await api.call('GET', `/devices/${deviceId}/choices`)).body.items ?? []).map(
    (one) => one['choice'],
  )
const monitoringOf = async (deviceId: string) =>
  (await api.call('GET', `/devices/${deviceId}`)).body['monitoring']
const dropped = async () => (await api.ctx.metrics.eventsOptedOut.get()).values[0]?.value ?? 0

test('of a device whose owner switched it off nothing is stored, though it still sends; others go on; on again it is', async () => {
  const [off, other] = [await givenDevice(), await givenDevice()]
  await report(off)
  await choose([off, 'monitorOff'])
  expect(await monitoringOf(off)).toBe('off')
  const before = await dropped()
  await report(off, other, off)
  expect(await eventsOf(off)).toEqual(['login-failed'])
  expect(await eventsOf(other)).toEqual(['login-failed'])
  expect(await dropped()).toBe(before + 2)
  api.ctx.clock.advance({ seconds: 1 })
  await choose([off, 'monitorOn'])
  expect(await monitoringOf(off)).toBe('on')
  await report(off)
  expect(await eventsOf(off)).toHaveLength(2)
})

test('the choice is in the ledger once, however often it is said; the last word of a group counts', async () => {
  const device = await givenDevice()
  await choose([device, 'monitorOff'])
  await choose([device, 'monitorOff'], [device, 'monitorOff'])
  await choose([device, 'monitorOn'], [device, 'monitorOff'])
  expect(await ledgerOf(device)).toEqual(['monitorOff'])
  await choose([device, 'monitorOn'])
  expect(await ledgerOf(device)).toEqual(['monitorOff', 'monitorOn'])
})

test('what the device says in its hello is right: after a restored backup too; one that does not say changes nothing', async () => {
  const device = await givenDevice()
  await hello(device, false)
  expect(await monitoringOf(device)).toBe('off')
  await hello(device)
  await hello(device, false)
  expect(await monitoringOf(device)).toBe('off')
  await hello(device, true)
  expect(await monitoringOf(device)).toBe('on')
  expect(await ledgerOf(device)).toEqual(['monitorOff', 'monitorOn'])
})

test('attacks on the server stay in the list, also in the name of that device; what the device does does not', async () => {
  const device = await givenDevice()
  await choose([device, 'monitorOff'])
  const record = async (kind: string) => {
    const event: SecurityEvent = {
      source: 'server',
      kind,
      severity: 'warning',
      deviceId: device,
      facts: {},
    }
    await inTransaction(handle.db, (tx) => recordEvents(tx, api.ctx.clock.now(), [event]))
  }
  for (const kind of ['mqtt-topic-refused', 'report-proof-invalid', 'update-refused']) {
    await record(kind)
  }
  expect((await eventsOf(device)).toSorted()).toEqual([
    'mqtt-topic-refused',
    'report-proof-invalid',
  ])
  await choose([device, 'monitorOn'])
  await record('update-refused')
  expect(await eventsOf(device)).toContain('update-refused')
})

import { afterAll, beforeAll, expect, test } from 'vitest'

import { Connection } from '../../device-sim/connection.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import type { Limits } from '../../server/mqtt/limits.ts'
import { type BrokerPki, createBrokerPki, type Credentials } from '../support/broker-pki.ts'
import { reportTopic, startTestBroker, type TestBroker, until } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'

// What a device is told when there is no room for it: CONNACK 3 where that lasts, nothing where another process has room.
let handle: DatabaseHandle
let pki: BrokerPki
beforeAll(async () => {
  handle = await createTestDatabase()
  pki = await createBrokerPki()
})
afterAll(async () => await handle[Symbol.asyncDispose]())

const start = async (limits: Partial<Limits>) => await startTestBroker(handle, { pki, limits })

/** Return code of a new connection, which is closed again. */
async function codeOf(broker: TestBroker, credentials: Credentials): Promise<number | 'closed'> {
  const device = await broker.open(credentials)
  const code = await device.connect({ clientId: credentials.deviceId })
  if (code !== 0) expect(await device.isClosedWithin(5_000)).toBe(true)
  await device.close()
  return code
}

test('one device more than a process takes is told to come later; one that has a session is taken, and so is the next after a close', async () => {
  await using broker = await start({ maxSessions: 1 })
  const [inside, outside] = [await broker.pair(), await broker.device()]
  expect(await codeOf(broker, outside)).toBe(3)
  const again = await broker.connected(inside.credentials)
  expect(await again.isAlive()).toBe(true)
  expect(await broker.refusals('too-many-sessions')).toBe(1)
  expect(await broker.events(outside.deviceId)).toEqual([])
  await again.close()
  await until(() => broker.broker.transport.size === 0, 'the server noticed the close')
  expect(await codeOf(broker, outside)).toBe(0)
})

test('whoever may not connect is told that, also where there is no room', async () => {
  await using broker = await start({ maxSessions: 0 })
  const credentials = await broker.device()
  broker.directory.refuse(credentials, 'device-disabled')
  expect(await codeOf(broker, credentials)).toBe(5)
})

test.each([
  ['a process that holds as many messages as it may', { inFlight: 1, hookMs: 60_000 }, false],
  ['a database that answers nothing', { hookMs: 300 }, true],
])('%s: a device is told to come later, until it is over', async (_name, limits, isSlow) => {
  await using broker = await start(limits)
  const { promise: hold, resolve: release } = Promise.withResolvers<void>()
  broker.control.before = async () => await hold
  const [sender, other] = [await broker.pair(), await broker.device()]
  const answer = sender.device.publish({
    topic: reportTopic(sender.credentials),
    payload: '{"n":1}',
  })
  await until(() => broker.control.groups.length === 1, 'the group is being stored')
  if (isSlow) expect(await answer).toBe(false)
  await until(async () => (await codeOf(broker, other)) === 3, 'it is told to come later')
  release()
  if (!isSlow) expect(await answer).toBe(true)
  await until(async () => (await codeOf(broker, other)) === 0, 'it is let in')
  expect(await broker.events(other.deviceId)).toEqual([])
})

test('who comes while the process drains is closed without a CONNACK: another process takes it', async () => {
  await using broker = await start({})
  const credentials = await broker.device()
  const [late, waiting] = [await broker.open(credentials), await broker.pair()]
  await broker.broker.drain(0)
  expect(await late.connect({ clientId: credentials.deviceId })).toBe('closed')
  expect(await waiting.device.isClosedWithin(5_000)).toBe(true)
  expect(await broker.refusals('stopping')).toBeGreaterThan(0)
})

test('the agent waits as it is told, and is in when there is room', async () => {
  await using broker = await start({ maxSessions: 1 })
  const [inside, outside] = [await broker.pair(), await broker.device()]
  const { deviceId, key, cert: certificates } = outside
  const waits: number[] = []
  const { promise: connected, resolve } = Promise.withResolvers<void>()
  const agent = new Connection({
    host: 'localhost',
    port: broker.broker.port,
    identity: () => ({ deviceId, key, certificates, root: pki.rootPem }),
    reconnectMaxMs: 100,
    log: (_text, facts) => {
      if (typeof facts?.['waitMs'] === 'number') waits.push(facts['waitMs'])
    },
    onConnect: resolve,
    onDisconnect: () => {},
    onMessage: () => {},
  })
  agent.start()
  try {
    await until(() => waits.length >= 3, 'it was told to wait three times')
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(50)
    expect(Math.max(...waits)).toBeLessThanOrEqual(100)
    expect(agent.lastError).toBe('CONNACK 3')
    await inside.device.close()
    await connected
    expect(agent.lastError).toBeUndefined()
  } finally {
    agent.stop()
  }
})

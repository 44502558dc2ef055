import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import type { Peer } from '../../server/mqtt/message.ts'
import {
  Body,
  reportTopic,
  startTestBroker,
  storingHandler,
  type TestBroker,
} from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { publishFrame } from '../support/raw-device.ts'

let handle: DatabaseHandle
let broker: TestBroker
const peers: Peer[] = []
beforeAll(async () => {
  handle = await createTestDatabase()
  const stored = storingHandler('report', { before: async () => {}, groups: [] })
  broker = await startTestBroker(handle, {
    handlers: [
      {
        ...stored,
        // The earlier a message, the longer it takes; every third needs nothing.
        prepare: (body, peer) => {
          const { n } = Body.parse(body)
          peers.push(peer)
          return n % 3 === 0 ? undefined : sleep(40 - n, body)
        },
      },
    ],
  })
})
afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

test('messages that take long to prepare are stored in the order in which they came', async () => {
  const { credentials, device } = await broker.pair()
  const numbers = Array.from({ length: 12 }, (_, i) => i + 1)
  const topic = reportTopic(credentials)
  device.send(...numbers.map((n) => publishFrame({ topic, payload: `{"n":${n}}`, id: n })))
  for (const _ of numbers) expect(await device.next(4)).toBeDefined()
  expect(await broker.stored(credentials.deviceId)).toEqual(numbers)
  const [peer] = peers
  expect(peer).toMatchObject({
    deviceId: credentials.deviceId,
    fingerprint: credentials.fingerprint,
  })
  expect(peer?.key()?.type).toBe('public')
  await device.close()
})

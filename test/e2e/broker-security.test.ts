import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import type { Refusal } from '../../server/identity.ts'
import { type Credentials, strangerIssuer } from '../support/broker-pki.ts'
import { reportTopic, startTestBroker, type TestBroker, until } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { daysFrom } from '../support/pki-fixture.ts'
import { connectFrame, RawDevice, types } from '../support/raw-device.ts'

// Security, broker.md §7: 23 to 29 and 32.
let handle: DatabaseHandle
let broker: TestBroker
beforeAll(async () => {
  handle = await createTestDatabase()
  broker = await startTestBroker(handle)
})
afterEach(() => {
  broker.directory.beforeCheck = async () => {}
  broker.control.before = async () => {}
})
afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const day = (days: number) => daysFrom(new Date(), days)
const payload = '{"n":1}'

describe('23: certificates that never reach the broker', () => {
  const untrusted: [name: string, () => Promise<Credentials>][] = [
    ['self-signed', async () => await broker.pki.selfSigned()],
    ['of another authority', async () => await broker.device({ issuer: await strangerIssuer() })],
    ['expired', async () => await broker.device({ notBefore: day(-9), notAfter: day(-1) })],
    ['not yet valid', async () => await broker.device({ notBefore: day(1), notAfter: day(9) })],
    [
      "a server's",
      async () => await broker.device({ profile: 'server', issuer: broker.pki.servers }),
    ],
  ]

  test.each(untrusted)('%s: closed before CONNECT, recorded', async (_name, make) => {
    const credentials = await make()
    broker.directory.allow(credentials)
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const before = await broker.refusals('certificate-not-trusted')
      const device = await broker.open(credentials, { maxVersion })
      expect(await device.connect({ clientId: credentials.deviceId })).toBe('closed')
      expect(await broker.refusals('certificate-not-trusted')).toBe(before + 1)
    }
    await expect.poll(() => broker.events()).toContain('mqtt-certificate-not-trusted')
  })

  test('none: closed, recorded', async () => {
    const { deviceId } = await broker.device()
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const device = await broker.open(undefined, { maxVersion })
      expect(await device.connect({ clientId: deviceId })).toBe('closed')
    }
    expect(await broker.refusals('no-certificate')).toBe(2)
    await expect.poll(() => broker.events()).toContain('mqtt-no-certificate')
  })

  test('a trusted one that the directory does not know: CONNACK 5', async () => {
    const credentials = await broker.pki.device()
    const device = await broker.open(credentials)
    expect(await device.connect({ clientId: credentials.deviceId })).toBe(5)
    expect(await broker.isServed(await broker.device())).toBe(true)
  })
})

describe('24: a right that is gone', () => {
  const refusals: Refusal[] = [
    'certificate-revoked',
    'certificate-held',
    'certificate-superseded',
    'certificate-expired',
    'device-disabled',
    'device-revoked',
    'device-retired',
    'group-disabled',
  ]

  test.each(refusals)('%s: CONNACK 5 by full handshake and by resumption', async (refusal) => {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const credentials = await broker.device()
      const device = await broker.open(credentials, { maxVersion })
      expect(await device.connect({ clientId: credentials.deviceId })).toBe(0)
      await until(() => device.tickets.length > 0, 'a ticket came')
      await device.close()
      const session = device.tickets.at(-1)
      const options = { maxVersion, ...(session ? { session } : {}) }

      const honest = await broker.open(credentials, options)
      expect(honest.socket.isSessionReused()).toBe(true)
      expect(await honest.connect({ clientId: credentials.deviceId })).toBe(0)
      await honest.close()

      broker.directory.refuse(credentials, refusal)
      // A renewed server certificate keeps the tickets, and must not keep the right.
      broker.pki.renew()
      const resuming = await broker.open(credentials, options)
      expect(resuming.socket.isSessionReused()).toBe(true)
      expect(await resuming.connect({ clientId: credentials.deviceId })).toBe(5)
      const full = await broker.open(credentials, { maxVersion })
      expect(await full.connect({ clientId: credentials.deviceId })).toBe(5)
      await expect
        .poll(() => broker.events(credentials.deviceId))
        .toEqual([`mqtt-${refusal}`, `mqtt-${refusal}`])
    }
  })

  test('a status that cannot be known is refused with code 3', async () => {
    const credentials = await broker.device()
    broker.directory.refuse(credentials, 'status-unknown')
    const device = await broker.open(credentials)
    expect(await device.connect({ clientId: credentials.deviceId })).toBe(3)
  })
})

describe('28 and 29: nothing of others, nothing left behind', () => {
  test('a device gets what is for it, and its neighbor nothing of it', async () => {
    const [one, other] = [await broker.pair(), await broker.pair()]
    for (const { credentials, device } of [one, other]) {
      expect(await device.subscribe([`fleetseal/v1/${credentials.deviceId}/+`])).toEqual([1])
    }
    await broker.broker.transport.send(one.credentials.deviceId, 'command', { command: 'refresh' })
    const received = await one.device.next(types.publish)
    expect(received?.body.toString()).toContain(`fleetseal/v1/${one.credentials.deviceId}/command`)
    expect(await other.device.isAlive()).toBe(true)
    expect(other.device.received).toEqual([])
    for (const { device } of [one, other]) await device.close()
  })

  test('a device gets no more than it asked for, at the QoS it was granted', async () => {
    const { credentials, device } = await broker.pair()
    const { deviceId } = credentials
    const { transport } = broker.broker
    expect(await transport.send(deviceId, 'command', {})).toBe('unsubscribed')
    expect(await device.subscribe([`fleetseal/v1/${deviceId}/#`], 0)).toEqual([0])
    expect(await transport.send(deviceId, 'command', {})).toBe('sent')
    expect(((await device.next(types.publish))?.flags ?? 0) & 6).toBe(0)
    expect(await device.subscribe([`fleetseal/v1/${deviceId}/command`], 1)).toEqual([1])
    expect(await transport.send(deviceId, 'command', {})).toBe('sent')
    expect(((await device.next(types.publish))?.flags ?? 0) & 6).toBe(2)
    await device.close()
  })

  test.each(['crash', 'kick'])('a will is never published, by %s', async (end) => {
    const credentials = await broker.device()
    const will = { topic: reportTopic(credentials), payload }
    const device = await broker.connected(credentials, { will })
    if (end === 'crash') device.tcp.resetAndDestroy()
    else broker.broker.transport.disconnect(credentials.deviceId)
    await device.closed
    await until(() => !broker.broker.transport.isConnected(credentials.deviceId), 'it is gone')
    await sleep(50)
    expect(await broker.stored(credentials.deviceId)).toEqual([])
    expect(await broker.events(credentials.deviceId)).toEqual([])
  })

  test('a persistent session becomes a clean one: nothing is queued or restored', async () => {
    const credentials = await broker.device()
    const filter = `fleetseal/v1/${credentials.deviceId}/#`
    const device = await broker.connected(credentials, { isClean: false })
    await device.subscribe([filter])
    await device.close()
    await until(() => !broker.broker.transport.isConnected(credentials.deviceId), 'it is gone')
    expect(await broker.broker.transport.send(credentials.deviceId, 'command', {})).toBe('offline')
    const again = await broker.open(credentials)
    again.send(connectFrame({ clientId: credentials.deviceId, isClean: false }))
    const connack = await again.next(types.connack)
    expect([...(connack?.body ?? [])]).toEqual([0, 0])
    expect(await again.isAlive()).toBe(true)
    expect(again.received).toEqual([])
    await again.close()
  })
})

describe('32: what is not our protocol', () => {
  test.each([
    ['MQTT 5', { version: 5 }],
    ['MQTT 3.1', { version: 3, protocol: 'MQIsdp' }],
    ['a bridge', { version: 0x84 }],
  ])('%s: CONNACK 1', async (_name, fields) => {
    const credentials = await broker.device()
    const device = await broker.open(credentials)
    expect(await device.connect({ clientId: credentials.deviceId, ...fields })).toBe(1)
    expect(await device.isClosedWithin(5_000)).toBe(true)
    await expect.poll(() => broker.events()).toContain('mqtt-protocol-version')
  })

  test.each(['MQTT', 'HTTP'])('%s without TLS is closed', async (protocol) => {
    const socket = connectTcp(broker.broker.port, '127.0.0.1')
    socket.on('error', () => {})
    await once(socket, 'connect')
    socket.resume()
    const { deviceId } = await broker.device()
    socket.end(
      protocol === 'MQTT' ? connectFrame({ clientId: deviceId }) : 'GET / HTTP/1.1\r\n\r\n',
    )
    await once(socket, 'close')
    await until(async () => (await broker.refusals('tls-failed')) > 0, 'counted')
  })

  test('another application protocol or an old TLS is refused; ours and none are accepted', async () => {
    const credentials = await broker.device()
    const options = [
      { ALPNProtocols: ['h2'] },
      { maxVersion: 'TLSv1.1', minVersion: 'TLSv1.1' },
    ] as const
    for (const option of options) {
      const device = await RawDevice.open(broker.broker.port, broker.pki.rootPem, credentials, {
        ...option,
        ciphers: 'DEFAULT:@SECLEVEL=0',
      } as Parameters<typeof RawDevice.open>[3])
      expect(await device.isClosedWithin(5_000)).toBe(true)
    }
    const device = await broker.open(credentials, { ALPNProtocols: ['mqtt'] })
    expect(await device.connect({ clientId: credentials.deviceId })).toBe(0)
    await device.close()
    expect(await broker.isServed(credentials)).toBe(true)
  })
})

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import type { Credentials } from '../support/broker-pki.ts'
import type { BrokerProcessInput } from '../support/broker-process.ts'
import { reportTopic, startTestBroker, type TestBroker } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { publishFrame, RawDevice, types } from '../support/raw-device.ts'

// Broker.md §7, 11, 12 and 38: a broker that is killed at any moment, and another one that takes over.
let handle: DatabaseHandle
let survivor: TestBroker
beforeAll(async () => {
  handle = await createTestDatabase()
  survivor = await startTestBroker(handle)
})
afterAll(async () => {
  await survivor[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const program = fileURLToPath(new URL('../support/broker-process.ts', import.meta.url))

async function startProcess(
  devices: Credentials[],
): Promise<{ child: ChildProcess; port: number }> {
  if (handle.kind !== 'postgres') throw new Error('needs a database for several processes')
  const { authorities } = survivor.pki
  const input: BrokerProcessInput = { databaseUrl: handle.url, authorities, devices }
  const child = spawn(process.execPath, [program, JSON.stringify(input)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return { child, port: Number(line.toString()) }
}

/** Reports 1, 2, 3 … one after the other until the connection breaks; returns the last acknowledged and the last sent. */
async function report(device: RawDevice, credentials: Credentials, progress: () => void) {
  for (let n = 1; ; n++) {
    device.send(publishFrame({ topic: reportTopic(credentials), payload: `{"n":${n}}`, id: n }))
    if (!(await device.next(types.puback))) return { acknowledged: n - 1, sent: n }
    progress()
  }
}

const upTo = (last: number) => Array.from({ length: last }, (_, n) => n + 1)

test.each([1, 40, 111, 250])(
  'killed at acknowledgement %i: none is lost, and what is sent again is not stored twice',
  async (killAt) => {
    const devices: Credentials[] = []
    for (let n = 0; n < 8; n++) devices.push(await survivor.device())
    const { child, port } = await startProcess(devices)
    onTestFinished(() => void child.kill('SIGKILL'))
    const connections: RawDevice[] = []
    for (const credentials of devices) {
      const device = await RawDevice.open(port, survivor.pki.rootPem, credentials)
      expect(await device.connect({ clientId: credentials.deviceId })).toBe(0)
      connections.push(device)
    }
    let acknowledgements = 0
    const progress = () => {
      if (++acknowledgements === killAt) child.kill('SIGKILL')
    }
    const ended = await Promise.all(
      devices.map(async (credentials, index) => {
        const device = connections[index]
        if (!device) throw new Error('as many connections as devices')
        return { credentials, ...(await report(device, credentials, progress)) }
      }),
    )
    expect(acknowledgements).toBeGreaterThanOrEqual(killAt)

    for (const { credentials, acknowledged, sent } of ended) {
      const stored = await survivor.stored(credentials.deviceId)
      expect([upTo(acknowledged), upTo(sent)]).toContainEqual(stored)
      const device = await survivor.connected(credentials)
      const again = { topic: reportTopic(credentials), payload: `{"n":${sent}}`, isDuplicate: true }
      expect(await device.publish({ ...again, id: sent })).toBe(true)
      expect(await survivor.stored(credentials.deviceId)).toEqual(upTo(sent))
      await device.close()
    }
  },
)

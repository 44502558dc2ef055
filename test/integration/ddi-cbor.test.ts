import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { readCbor, writeCbor } from '../../server/ddi/cbor.ts'
import { getPoller } from '../../server/ddi/poller.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  type DdiWorld,
  ddiWorld,
  givenClient,
  givenPollingDevice,
  givenUpdate,
  type Polling,
} from '../support/ddi-world.ts'

let handle: DatabaseHandle
let world: DdiWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ddiWorld(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const cbor = 'application/cbor'
type Call = (method: string, at: string, body?: object) => Promise<[status: number, said: unknown]>

const inJson =
  (device: Polling): Call =>
  async (method, at, body) => {
    const { status, json } = await device.call(method, at, body)
    return [status, json]
  }
const inCbor =
  (device: Polling): Call =>
  async (method, at, body) => {
    const sent = body && writeCbor(body)
    const headers = { Accept: cbor, ...(sent ? { 'Content-Type': cbor } : {}) }
    const reply = await device.call(method, at, sent, headers)
    if (reply.bytes.length === 0) return [reply.status, undefined]
    expect(reply.headers['content-type']).toBe(cbor)
    expect(reply.headers['content-length']).toBe(String(reply.bytes.length))
    return [reply.status, readCbor(reply.bytes)]
  }

/** One device from its first poll to its proof, without what is its own. */
async function conversation(speak: (device: Polling) => Call): Promise<unknown> {
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  const call = speak(device)
  const action = '/deploymentBase/1000000001'
  const tell = async (execution: string, finished: string) => {
    const status = { execution, result: { finished }, details: [`says ${execution}`, 'ü'] }
    return await call('POST', `${action}/feedback`, { id: 1_000_000_001, status })
  }
  const steps = [
    () => call('PUT', '/configData', { data: { swVersion: '1', place: 'lab', n: 1.5 } }),
    () => call('GET', ''),
    () => call('GET', action),
    () => call('GET', '/softwaremodules/1000000001/artifacts'),
    () => tell('proceeding', 'none'),
    update.state,
    () => call('GET', `${action}?actionHistory=-1`),
    () => tell('closed', 'success'),
    update.state,
    () => call('PUT', '/configData', { data: { swVersion: update.version, place: null } }),
    update.state,
    () => call('POST', '/confirmationBase/activateAutoConfirm', { initiator: 'x', remark: 'y' }),
    () => call('GET', '/confirmationBase'),
    () => call('GET', '/installedBase/1000000001'),
  ]
  const said: unknown[] = []
  for (const step of steps) said.push(await step())
  const { attributes } = await getPoller(world.ctx, device.id)
  const text = JSON.stringify([...said, { ...attributes, swVersion: '' }])
  return JSON.parse(
    text
      .replaceAll(device.id, 'DEVICE')
      .replaceAll(update.version, 'VERSION')
      .replaceAll(/"sleep":"[0-9:]{8}"/g, '"sleep":""')
      .replaceAll(/"(sha1|md5|sha256)":"[0-9a-f]+"/g, '"$1":""'),
  ) as unknown
}

test('generic: the same conversation in JSON and in CBOR', async () => {
  await givenClient(world, 'generic')
  const json = await conversation(inJson)
  expect(JSON.stringify(json)).toContain('"succeeded"')
  expect(await conversation(inCbor)).toEqual(json)
})

test('which of the two is answered follows Accept', async () => {
  await givenClient(world, 'generic')
  const device = await givenPollingDevice(world)
  const type = async (accept?: string) => {
    const { status, headers } = await device.call('GET', '', undefined, accept ? { accept } : {})
    expect(status).toBe(200)
    return headers['content-type']
  }
  const json = 'application/json; charset=utf-8'
  const found: Record<string, string | undefined> = {}
  const asked = {
    '*/*': json,
    'application/json': json,
    'application/hal+json': json,
    'text/html': json,
    'application/cbor;q=0': json,
    'application/cbor;q=0.5, application/json': json,
    'application/hal+json, application/cbor;q=0.9': json,
    'application/cbor;q=x;;,,/': json,
    [cbor]: cbor,
    'application/cbor, application/json;q=0.5': cbor,
    'application/json;q=0.1, application/hal+json;q=0.1, APPLICATION/CBOR;q=0.2': cbor,
    'application/cbor, */*;q=0.8': cbor,
  }
  for (const accept of Object.keys(asked)) found[accept] = await type(accept)
  expect(found).toEqual(asked)
  expect(await type()).toBe(json)
})

test('CBOR that cannot be read is answered like JSON that cannot be read, and changes nothing', async () => {
  await givenClient(world, 'generic')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  await device.links()
  await device.tell('proceeding')
  const at = '/deploymentBase/1000000001/feedback'
  const good = writeCbor({ status: { execution: 'closed', result: { finished: 'success' } } })
  const bad = [
    good.subarray(0, -1),
    Buffer.concat([good, good]),
    Buffer.alloc(100_000, 0x81),
    Buffer.from('{"status":{"execution":"closed","result":{"finished":"success"}}}'),
    Buffer.concat([Buffer.from([0xd8, 0x18]), good]),
    Buffer.alloc(300_000, 0x61),
  ]
  for (const body of bad) {
    for (const [method, path] of [
      ['POST', at],
      ['PUT', '/configData'],
    ] as const)
      expect((await device.call(method, path, body, { 'Content-Type': cbor })).status).toBe(200)
    expect(await update.state()).toBe('downloading')
  }
  for (let n = 0; n < 60; n++) {
    const body = Buffer.from(good)
    body[(n * 7) % body.length] = (n * 37) % 256
    const { status } = await device.call('POST', at, body, { 'Content-Type': cbor })
    expect(status).toBe(200)
  }
})

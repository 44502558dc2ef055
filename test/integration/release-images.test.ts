import { readFileSync } from 'node:fs'

import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { imageFor } from '../support/images.ts'
import { ReleaseWorld } from '../support/release-world.ts'
import { cpio, type CpioFile, swDescription } from '../support/swu.ts'

let world: ReleaseWorld
let handle: DatabaseHandle
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

let build = 200
/** A draft of version 2.0.1 with these bytes, for devices that run this client. */
async function draft(profile: string, bytes: Buffer, changes: Record<string, unknown> = {}) {
  build += 1
  const product = { profile, component: 'main', versionAttribute: 'swVersion', pollSeconds: 300 }
  await world.call('PUT', '/models/gate-2/ddi', product)
  const { id: artifactId } = await world.upload(bytes)
  const body = await world.releaseBody({ version: '2.0.1', build, artifactId, ...changes })
  const reply = await world.api.call('POST', '/releases', body)
  // The next one has the same version.
  if (reply.status === 201) await world.act(String(reply.body['id']), 'withdraw')
  return reply
}

const payload = Buffer.alloc(5_000, 3)
const description = (text = swDescription('2.0.1', payload, '/tmp/x').toString()) => ({
  name: 'sw-description',
  bytes: Buffer.from(text),
})
const signature = { name: 'sw-description.sig', bytes: Buffer.from('s') }
const image = { name: 'payload.bin', bytes: payload }
const changed = (from: string, to: string) =>
  description(description().bytes.toString().replace(from, to))
const bundle = (name: string) =>
  readFileSync(new URL(`../fixtures/images/${name}.raucb`, import.meta.url))

test.each([
  ['a signed .swu', 'swupdate', imageFor('swupdate', '2.0.1', payload)],
  ['a bundle', 'rauc', bundle('plain-gzip')],
  ['a bundle of the verity format', 'rauc', bundle('verity-gzip')],
  // It may be good, and is said to be unchecked in the log.
  ['a bundle that cannot be looked into here', 'rauc', bundle('plain-xz')],
  ["what another client's image is", 'zephyr', payload],
  [
    'a .swu for a revision of this board',
    'swupdate',
    cpio([
      changed('files:', 'gate-2 = { hardware-compatibility: ["r3"]; }; files:'),
      signature,
      image,
    ]),
  ],
])('%s is taken', async (_, profile, bytes) => {
  expect(await draft(profile, bytes)).toMatchObject({ status: 201 })
})

test.each<[string, CpioFile[], string]>([
  ['is not signed', [description(), image], 'The .swu is not signed'],
  ['is of another version', [changed('2.0.1', '2.0.0'), signature, image], 'says version 2.0.0'],
  [
    'is for other hardware',
    [changed('gate-2-r3', 'gate-9'), signature, image],
    'not with gate-2-r3',
  ],
  ['protects no image', [changed('sha256', 'sha1'), signature, image], 'no sha256 for payload.bin'],
  [
    'is not whole',
    [description(), signature, { ...image, bytes: Buffer.alloc(5_000, 4) }],
    'has not the SHA-256',
  ],
  ['cannot be read', [description('software = {'), signature], 'line 1, column 13'],
])('a .swu that %s is refused, with what to do', async (_, files, message) => {
  const { status, body } = await draft('swupdate', cpio(files))
  expect(status).toBe(400)
  expect(body).toMatchObject({ code: 'invalid-request', at: 'artifactId' })
  expect(body['detail']).toContain(message)
})

test('bytes that the client could not install are refused', async () => {
  for (const profile of ['swupdate', 'rauc']) {
    const { status, body } = await draft(profile, payload)
    expect(status, profile).toBe(400)
    expect(body['detail']).toContain('cannot install this')
  }
})

test('a bundle of another version, or for other devices, is refused', async () => {
  const wrong = await draft('rauc', bundle('plain-gzip'), { version: '2.0.2' })
  expect(wrong.body['detail']).toContain('the manifest says version 2.0.1, the release 2.0.2')
  const other = bundle('verity-gzip')
  // The signature does not count here: the devices verify it.
  other.write('gate-9', other.indexOf('compatible=gate-2') + 'compatible='.length)
  const refused = await draft('rauc', other)
  expect(refused.body['detail']).toContain('The bundle is for compatible=gate-9')
})

test('what devices run may be said after a release was made: it is asked again when it is submitted', async () => {
  build += 1
  await draft('zephyr', payload, { version: '2.0.9' })
  const { id: artifactId } = await world.upload(payload)
  const body = await world.releaseBody({ version: '2.0.8', build, artifactId })
  const { body: release } = await world.api.call('POST', '/releases', body)
  const product = {
    profile: 'swupdate',
    component: 'main',
    versionAttribute: 'v',
    pollSeconds: 300,
  }
  await world.call('PUT', '/models/gate-2/ddi', product)
  const reply = await world.act(String(release['id']), 'submit')
  expect(reply).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
})

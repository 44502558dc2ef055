import { createHash } from 'node:crypto'

import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endCancelled, endOverdue } from '../../server/deployments/end.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  type DdiWorld,
  ddiWorld,
  givenClient,
  givenPollingDevice,
  givenUpdate,
  type Reply,
} from '../support/ddi-world.ts'
import { act, givenRelease } from '../support/rollout-world.ts'

/* Conversations of ddi.md §12, as the clients have them; answers are compared whole. */

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

/** Without what differs from one answer to the next, and what the listener of the test says. */
function headersOf({ headers }: Reply): Record<string, string> {
  const { date: _, connection: __, 'keep-alive': ___, 'x-powered-by': ____, ...rest } = headers
  return rest
}
const json = (bytes: Buffer) => ({
  'content-type': 'application/json; charset=utf-8',
  'content-length': String(bytes.length),
})

test('all: idle poll, configData once and its link gone, whole answers', async () => {
  await givenClient(world, 'swupdate')
  const device = await givenPollingDevice(world)
  const idle = await device.call('GET', '')
  expect(idle).toMatchObject({ status: 200, json: { _links: {} } })
  expect(Object.keys(idle.json as object)).toEqual(['config', '_links'])
  expect(headersOf(idle)).toEqual(json(idle.bytes))
  await world.db
    .updateTable('ddi_device')
    .set({ wants_attributes: true })
    .where('device_id', '=', device.id)
    .execute()
  // What is told of by nobody is not seen from memory; here the device speaks.
  await device.call('GET', '/confirmationBase')
  const asked = await device.call('GET', '')
  expect(asked.json).toEqual({
    config: { polling: { sleep: expect.stringMatching(/^00:0[01]:\d\d$/) as unknown } },
    _links: { configData: { href: `${device.base}/configData` } },
  })
  const put = await device.call('PUT', '/configData', { data: { swVersion: '1' } })
  expect([put.status, put.bytes.length, put.headers['content-length']]).toEqual([200, 0, '0'])
  expect(await device.links()).toEqual([])
})

test('all: what is offered: both download links, integer size, three hashes, update always there', async () => {
  await givenClient(world, 'swupdate')
  const device = await givenPollingDevice(world)
  const { image, version } = await givenUpdate(device)
  const root = await device.call('GET', '')
  const href = `${device.base}/deploymentBase/1000000001?c=0`
  expect(root.json).toEqual({
    config: { polling: { sleep: expect.stringMatching(/^00:00:3[0-3]$/) as unknown } },
    _links: { deploymentBase: { href } },
  })
  const offer = await device.call('GET', href)
  expect(headersOf(offer)).toEqual(json(offer.bytes))
  const file = `${device.base}/softwaremodules/1000000001/artifacts/gate.swu`
  const hash = (name: string) => createHash(name).update(image).digest('hex')
  const hashes = { sha1: hash('sha1'), md5: hash('md5'), sha256: hash('sha256') }
  const links = {
    download: { href: file },
    'download-http': { href: file },
    md5sum: { href: `${file}.MD5SUM` },
    'md5sum-http': { href: `${file}.MD5SUM` },
  }
  const artifacts = [{ filename: 'gate.swu', size: 1_000, hashes, _links: links }]
  expect(offer.json).toEqual({
    id: '1000000001',
    deployment: {
      download: 'attempt',
      update: 'attempt',
      chunks: [{ part: 'os', version, name: 'main', artifacts }],
    },
  })
  expect((await device.call('GET', '/softwaremodules/1000000001/artifacts')).json).toEqual(
    artifacts,
  )
  expect(new URL(file).pathname.length).toBeLessThanOrEqual(190)
})

test('all: ids up to 2147483647, and none after it', async () => {
  await givenClient(world, 'swupdate')
  const device = await givenPollingDevice(world)
  const first = await givenUpdate(device)
  await device.links()
  await device.tell('closed', 'failure', { details: ['no'] })
  await world.db
    .updateTable('ddi_action')
    .set({ id: 2_147_483_646 })
    .where('device_id', '=', device.id)
    .execute()
  world.clock.advance({ seconds: 3_600 })
  const { json: root } = await device.call('GET', '')
  expect(JSON.stringify(root)).toContain('/deploymentBase/2147483647?')
  expect(await device.tell('closed', 'failure', { id: 2_147_483_647 })).toBe(200)
  expect(await first.state()).toBe('failed')
  world.clock.advance({ seconds: 7_200 })
  expect(await device.call('GET', '')).toMatchObject({
    status: 403,
    json: { code: 'quota-exhausted' },
  })
})

test('all: another name than the certificate’s: 403, whether there is such a device or not', async () => {
  await givenClient(world, 'swupdate')
  const [device, other] = [await givenPollingDevice(world), await givenPollingDevice(world)]
  for (const id of [other.id, 'nobody']) {
    const at = `https://ota.example:8443/DEFAULT/controller/v1/${id}`
    const { status, json: problem } = await device.call('GET', at)
    expect([status, (problem as { code: string }).code]).toEqual([403, 'not-allowed'])
    expect((await device.call('PUT', `${at}/configData`, { data: {} })).status).toBe(403)
  }
})

test('all: pause and postponement hide the link before the start and keep it after', async () => {
  await givenClient(world, 'swupdate')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  expect(await device.links()).toEqual(['deploymentBase'])
  const postpone = async (until: Date | null) => {
    const state = until ? ('postponed' as const) : ('offered' as const)
    await world.db
      .updateTable('deployment')
      .set({ state, postponed_until: until })
      .where('id', '=', await update.id())
      .execute()
  }
  const later = new Date(world.clock.now().getTime() + 600_000)
  await postpone(later)
  expect(await device.links()).toEqual([])
  await postpone(null)
  await update.pause()
  expect(await device.links()).toEqual([])
  await update.resume()
  expect(await device.links()).toEqual(['deploymentBase'])
  await device.tell('proceeding')
  await update.pause()
  expect(await device.links()).toEqual(['deploymentBase'])
})

test('all: a feedback of a megabyte is answered, and its head is read', async () => {
  await givenClient(world, 'swupdate')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  await device.links()
  const details = Array.from({ length: 500 }, (_, n) => `${n} ${'x'.repeat(2_040)}`)
  const status = { execution: 'proceeding', result: { finished: 'none' }, details }
  const at = '/deploymentBase/1000000001/feedback'
  expect((await device.call('POST', at, { status })).status).toBe(200)
  expect(await update.state()).toBe('downloading')
})

test('all: a feedback that is said ten times counts once', async () => {
  await givenClient(world, 'swupdate')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  await device.links()
  for (let n = 0; n < 10; n++) expect(await device.tell('closed', 'failure')).toBe(200)
  const row = await update.row()
  expect([row.state, row.attempts]).toEqual(['failed', 1])
  const { events } = await world.db
    .selectFrom('deployment_event')
    .select((eb) => eb.fn.countAll().as('events'))
    .where('deployment_id', '=', row.id)
    .where('to_state', '=', 'failed')
    .executeTakeFirstOrThrow()
  expect(Number(events)).toBe(1)
})

test('swupdate: start, logs, a download that drops at half and goes on, restart, proof', async () => {
  await givenClient(world, 'swupdate')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device, { bytes: 100_000 })
  // Sent after every start, though nobody asked.
  expect(await device.says('1.0.0')).toBe(200)
  for (let n = 0; n < 2; n++) {
    expect(await device.links()).toEqual(['deploymentBase'])
    expect((await device.call('GET', '/deploymentBase/1000000001')).status).toBe(200)
  }
  expect(await update.state()).toBe('accepted')
  await device.tell('proceeding', 'none', { details: ['Installing Update Chunk Artifacts.'] })
  const file = '/softwaremodules/1000000001/artifacts/gate.swu'
  const head = await device.call('HEAD', file)
  const length = { 'content-length': '100000', 'accept-ranges': 'bytes' }
  expect(head).toMatchObject({ status: 200, headers: length })
  expect(head.headers['content-encoding']).toBeUndefined()
  const half = await device.call('GET', file, undefined, { Range: 'bytes=0-49999' })
  const rest = await device.call('GET', file, undefined, { Range: 'bytes=50000-' })
  expect([half.status, rest.status]).toEqual([206, 206])
  expect(rest.headers['content-range']).toBe('bytes 50000-99999/100000')
  expect(Buffer.concat([half.bytes, rest.bytes]).equals(update.image)).toBe(true)
  await device.tell('proceeding', 'none', { details: ['All Chunks Installed.'] })
  expect(await update.state()).toBe('installed')
  expect(await device.links()).toEqual(['deploymentBase'])
  expect(await device.tell('closed', 'success', { details: ['Updated'] })).toBe(200)
  expect(await device.says(update.version)).toBe(200)
  expect(await update.state()).toBe('succeeded')
  expect(await device.links()).toEqual([])
})

test('swupdate: validators: If-Match of other bytes 412, If-Range by tag or by the date that was told, 416', async () => {
  await givenClient(world, 'swupdate')
  const device = await givenPollingDevice(world)
  const { sha256 } = await givenUpdate(device)
  await device.links()
  const get = async (headers: Record<string, string>) =>
    await device.call('GET', '/softwaremodules/1000000001/artifacts/gate.swu', undefined, headers)
  const whole = await get({})
  const date = whole.headers['last-modified'] ?? ''
  expect(whole.headers).toMatchObject({
    etag: `"${sha256}"`,
    'content-type': 'application/octet-stream',
    'content-disposition': 'attachment; filename="gate.swu"',
    'x-content-type-options': 'nosniff',
  })
  expect(new Date(date).getTime()).toBe(world.clock.now().getTime())
  expect((await get({ 'If-Match': `"${sha256}"` })).status).toBe(200)
  expect((await get({ 'If-Match': '"a", "b"' })).status).toBe(412)
  expect((await get({ 'If-Match': `W/"${sha256}"` })).status).toBe(412)
  const from = { Range: 'bytes=5-' }
  expect((await get({ ...from, 'If-Range': `"${sha256}"` })).status).toBe(206)
  expect((await get({ ...from, 'If-Range': date })).status).toBe(206)
  expect((await get({ ...from, 'If-Range': new Date(0).toUTCString() })).status).toBe(200)
  const several = await get({ Range: 'bytes=0-1,5-9' })
  expect(several.status).toBe(206)
  expect(several.headers['content-type']).toMatch(/^multipart\/byteranges; boundary=[0-9a-f]{48}$/)
  expect(several.headers['content-disposition']).toBe('attachment; filename="gate.swu"')
  expect(several.bytes.toString('latin1')).toContain('Content-Range: bytes 5-9/1000')
  const beyond = await get({ Range: 'bytes=1000-' })
  expect([beyond.status, beyond.headers['content-range']]).toEqual([416, 'bytes */1000'])
})

test('swupdate: a cancellation before the start shows nothing; during the download it is shown until it is answered', async () => {
  await givenClient(world, 'swupdate')
  const [early, late] = [await givenPollingDevice(world), await givenPollingDevice(world)]
  const [one, two] = [await givenUpdate(early), await givenUpdate(late)]
  await early.links()
  await late.links()
  await late.tell('proceeding')
  for (const { rolloutId } of [one, two]) await act(world, rolloutId, 'cancel')
  while (await endCancelled(world.ctx));
  expect(await early.links()).toEqual([])
  expect(await late.links()).toEqual(['cancelAction'])
  const cancel = await late.call('GET', '/cancelAction/1000000001')
  expect(cancel.json).toEqual({
    id: '1000000001',
    cancelAction: { stopId: '1000000001' },
    deployment: { update: 'skip' },
  })
  expect(await late.tell('closed', 'success', { kind: 'cancelAction' })).toBe(200)
  expect(await late.links()).toEqual(['configData'])
  expect([await one.state(), await two.state()]).toEqual(['cancelled', 'cancelled'])
})

test('swupdate: late success after lost is answered 200 and counts', async () => {
  await givenClient(world, 'swupdate')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  await device.links()
  await device.tell('proceeding')
  world.clock.advance({ seconds: 25 * 3_600 })
  while (await endOverdue(world.ctx));
  expect(await update.state()).toBe('lost')
  expect(await device.links()).toEqual(['deploymentBase'])
  expect(await device.tell('closed', 'success')).toBe(200)
  await device.says(update.version)
  expect(await update.state()).toBe('succeeded')
})

test('all: after a step on the way the same rollout goes on, by polls alone', async () => {
  await givenClient(world, 'swupdate')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  await device.links()
  expect(await device.tell('closed', 'failure')).toBe(200)
  const step = await givenRelease(world, { build: 2, version: '1.0.2' })
  await world.db
    .updateTable('deployment')
    .set({ release_id: step.id, is_step: true, state: 'succeeded' })
    .where('id', '=', await update.id())
    .execute()
  await device.says('1.0.0')
  const { json: root } = await device.call('GET', '')
  expect(JSON.stringify(root)).toContain('/deploymentBase/1000000002?')
  const { json: offer } = await device.call('GET', '/deploymentBase/1000000002')
  expect(offer).toMatchObject({ deployment: { chunks: [{ version: update.version }] } })
})

import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { DdiClient } from '../support/ddi-client.ts'
import { imageFor } from '../support/images.ts'
import { openSite, publishRelease, type Site, startRollout } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

let server: RunningServer
let site: Site
let build = 100
/** Which client the model's devices run now. */
let runs = 'swupdate'

beforeAll(async () => {
  server = await startServer({})
  site = await openSite(server)
})
afterAll(() => server[Symbol.asyncDispose]())

const fleetseal = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)

/** A device whose model is said to use this client. */
async function device(serial: string, client: string, ...proof: string[]): Promise<DdiClient> {
  const how = proof.length > 0 ? proof : ['--version-attribute', 'swVersion']
  await fleetseal('ddi', 'model', 'gate-2', client, '--component', 'main', ...how)
  runs = client
  await fleetseal('ddi', 'profile', 'line-1', 'gate-2', 'gate-2-r3')
  return await DdiClient.enroll(server, site, serial)
}

async function rollOut(
  serial: string,
  { kind = 'security' }: { kind?: 'security' | 'feature' } = {},
) {
  build += 1
  const version = `2.0.${build}`
  const image = imageFor(runs, version, randomBytes(200_000))
  const names = { fileName: 'gate 2.swu', metadataVersion: build - 100 }
  const release = { version, build, image, class: kind, ...names }
  const rollout = await startRollout(site, await publishRelease(site, release), serial)
  return { version, rollout, image }
}

const deploymentOf = async (rollout: string) =>
  (
    await fleetseal<{ id: string; state: string; code: string | null }[]>(
      'rollout',
      'deployments',
      rollout,
    )
  )[0]
const stateOf = async (rollout: string) => (await deploymentOf(rollout))?.state

/** Polls like a client until the link is there. */
async function link(
  client: DdiClient,
  name: 'deploymentBase' | 'cancelAction' | 'confirmationBase',
) {
  for (let n = 0; n < 200; n++) {
    const href = (await client.root())._links?.[name]?.href
    if (href !== undefined) return href
    await sleep(1_100)
  }
  throw new Error(`no ${name}`)
}

test('SWUpdate: a whole update, from the first poll to the proof', async () => {
  const client = await device('SW-1', 'swupdate')
  // Once after every start, link or not, and in its version of 2022 without a mode.
  expect(await client.attributes({ swVersion: '1.0.0', board: 'r3' })).toBe(200)
  const idle = await client.call('GET', '')
  expect(idle.status).toBe(200)
  expect(idle.headers['content-length']).toBe(String(idle.bytes.length))
  expect(idle.headers.etag).toBeUndefined()
  expect(idle.json._links).toEqual({})
  expect(idle.json.config?.polling.sleep).toMatch(/^00:0[45]:\d\d$/)
  const { version, rollout, image } = await rollOut('SW-1')
  const href = await link(client, 'deploymentBase')
  expect(href).toMatch(
    /\/DEFAULT\/controller\/v1\/[0-9a-f-]{36}\/deploymentBase\/1000000001\?c=\d+$/,
  )
  const { json } = await client.call('GET', href)
  const [chunk] = json.deployment?.chunks ?? []
  const [artifact] = chunk?.artifacts ?? []
  const hash = (name: string) => createHash(name).update(image).digest('hex')
  expect(json.id).toBe('1000000001')
  expect(json.deployment).toMatchObject({ download: 'attempt', update: 'attempt' })
  expect(chunk).toMatchObject({ part: 'os', name: 'main', version })
  expect(artifact).toMatchObject({
    size: image.length,
    hashes: { sha1: hash('sha1'), md5: hash('md5'), sha256: hash('sha256') },
  })
  expect(artifact?.filename).toBe('gate_2.swu')
  expect(await stateOf(rollout)).toBe('accepted')
  // Fetched twice before the first word: that is no start.
  await client.call('GET', href)
  expect(await client.tell('1000000001', 'proceeding', 'none', ['Installation started'])).toBe(200)
  expect(await stateOf(rollout)).toBe('downloading')

  const download = artifact?._links.download.href ?? ''
  const head = await client.call('HEAD', download)
  expect(head).toMatchObject({ status: 200 })
  expect(head.headers).toMatchObject({
    'content-length': String(image.length),
    'accept-ranges': 'bytes',
    'x-content-type-options': 'nosniff',
  })
  const [first, rest] = [
    await client.call('GET', download, undefined, { Range: 'bytes=0-99999' }),
    await client.call('GET', download, undefined, { Range: 'bytes=100000-' }),
  ]
  expect([first.status, rest.status]).toEqual([206, 206])
  expect(Buffer.concat([first.bytes, rest.bytes]).equals(image)).toBe(true)
  const sum = await client.call('GET', artifact?._links.md5sum.href ?? '')
  expect(sum.bytes.toString()).toBe(`${hash('md5')}  ${artifact?.filename}`)

  expect(await client.tell('1000000001', 'proceeding', 'none', ['All Chunks Installed.'])).toBe(200)
  expect(await stateOf(rollout)).toBe('installed')
  // Until it has rebooted and said so, the link stays.
  await link(client, 'deploymentBase')
  expect(await client.tell('1000000001', 'closed', 'success', ['Update verified'])).toBe(200)
  expect(await stateOf(rollout)).toBe('testing')
  // A claim proves nothing; what the booted image says of itself does.
  const asked = await client.root()
  expect(Object.keys(asked._links ?? {})).toEqual(['configData'])
  expect(await client.attributes({ swVersion: version })).toBe(200)
  expect(await stateOf(rollout)).toBe('succeeded')
  expect((await client.root())._links).toEqual({})
  const shown = await fleetseal<{ installed: { version: string }[]; attributes: object }>(
    'device',
    'show',
    'SW-1',
  )
  expect(shown.installed[0]?.version).toBe(version)
  expect(shown.attributes).toEqual({ swVersion: version, board: 'r3' })
})

test('the old version after a claim of success is a rollback, and is said to be one', async () => {
  const client = await device('SW-2', 'swupdate')
  await client.attributes({ swVersion: '1.0.0' })
  const { rollout } = await rollOut('SW-2')
  await client.call('GET', await link(client, 'deploymentBase'))
  await client.tell('1000000001', 'proceeding', 'none')
  await client.tell('1000000001', 'closed', 'success')
  expect(await client.attributes({ swVersion: '1.0.0' })).toBe(200)
  expect(await deploymentOf(rollout)).toMatchObject({ state: 'rolled_back', code: 'old-version' })
  expect((await client.root())._links).toEqual({})
})

test('a failure with log lines copied as they are is read, kept, and tried again later', async () => {
  const client = await device('SW-3', 'swupdate')
  await client.attributes({ swVersion: '1.0.0' })
  const { rollout } = await rollOut('SW-3')
  await client.call('GET', await link(client, 'deploymentBase'))
  const body = `{"id":1000000001,"time":"x","status":{"result":{"finished":"failure"},"execution":"closed","details":["ERROR : cannot open "/dev/mmc"","[install] : \t failed"]}}`
  const answer = await client.call('POST', '/deploymentBase/1000000001/feedback', body)
  expect([answer.status, answer.headers['content-length']]).toEqual([200, '0'])
  expect(await deploymentOf(rollout)).toMatchObject({ state: 'failed', code: 'device-reported' })
  const shown = await fleetseal<{ link: string; reason: string; action: { messages: string[] } }>(
    'ddi',
    'show',
    'SW-3',
  )
  expect(shown).toMatchObject({ link: 'none', reason: 'retry-later' })
  expect(shown.action.messages).toContain('ERROR : cannot open "/dev/mmc"')
  // The same ten times is said once, and never refused.
  for (let n = 0; n < 10; n++) {
    expect((await client.call('POST', '/deploymentBase/1000000001/feedback', body)).status).toBe(
      200,
    )
  }
  expect(await deploymentOf(rollout)).toMatchObject({ state: 'failed' })
})

test('a cancellation is shown to who has begun, until it is answered; who has not sees nothing', async () => {
  const begun = await device('SW-4', 'swupdate')
  const fresh = await DdiClient.enroll(server, site, 'SW-5')
  await fleetseal('group', 'add', 'SW-4', 'SW-5')
  for (const client of [begun, fresh]) await client.attributes({ swVersion: '1.0.0' })
  const { rollout } = await rollOut('SW-4')
  await begun.call('GET', await link(begun, 'deploymentBase'))
  await link(fresh, 'deploymentBase')
  await begun.tell('1000000001', 'proceeding', 'none')
  await fleetseal('rollout', 'pause', rollout)
  expect((await fresh.root())._links?.deploymentBase).toBeUndefined()
  expect((await begun.root())._links?.deploymentBase).toBeDefined()
  await fleetseal('rollout', 'resume', rollout)
  expect((await fresh.root())._links?.deploymentBase).toBeDefined()
  await fleetseal('rollout', 'cancel', rollout)
  expect((await fresh.root())._links?.deploymentBase).toBeUndefined()
  const href = await link(begun, 'cancelAction')
  expect(href).not.toContain('?')
  const { json } = await begun.call('GET', href)
  expect(json).toMatchObject({ id: '1000000001', cancelAction: { stopId: '1000000001' } })
  const said = {
    status: {
      execution: 'closed',
      result: { finished: 'success' },
      details: ['cancellation acknowledged.'],
    },
  }
  expect((await begun.call('POST', `${href}/feedback`, said)).status).toBe(200)
  const after = (await begun.root())._links
  expect([after?.cancelAction, after?.deploymentBase]).toEqual([undefined, undefined])
  expect((await begun.call('GET', href)).status).toBe(404)
})

test('RAUC claims before its reboot: the old version proves nothing yet, the new one does', async () => {
  const client = await device('RA-1', 'rauc')
  await client.attributes({ swVersion: '1.0.0' })
  const { version, rollout } = await rollOut('RA-1')
  await client.call('GET', await link(client, 'deploymentBase'))
  expect(await client.tell('1000000001', 'closed', 'success')).toBe(200)
  expect(await stateOf(rollout)).toBe('installed')
  expect((await client.root())._links?.deploymentBase).toBeUndefined()
  await client.attributes({ swVersion: '1.0.0' })
  expect(await stateOf(rollout)).toBe('installed')
  // It says its version only when it is asked.
  expect(Object.keys((await client.root())._links ?? {})).toEqual(['configData'])
  await client.attributes({ swVersion: version })
  expect(await stateOf(rollout)).toBe('succeeded')
})

test('Zephyr: no word before the boot, hardly any after it, and no version', async () => {
  const client = await device('ZE-1', 'zephyr', '--claim-after-boot')
  const { rollout } = await rollOut('ZE-1')
  const { json } = await client.call('GET', await link(client, 'deploymentBase'))
  const [chunk] = json.deployment?.chunks ?? []
  expect(chunk?.part).toBe('bApp')
  await client.call('GET', chunk?.artifacts[0]?._links['download-http'].href ?? '')
  const body = '{"status":{"result":{"finished":"success"},"execution":"closed"}}'
  expect((await client.call('POST', '/deploymentBase/1000000001/feedback', body)).status).toBe(200)
  expect(await stateOf(rollout)).toBe('succeeded')
  const events = await fleetseal<{ kind: string }[]>('events', 'list')
  expect(events.map(({ kind }) => kind)).toContain('ddi-success-not-verified')
})

test('an old state that claims a new action proves nothing, however often, where a claim has to do', async () => {
  const client = await device('ZE-2', 'zephyr', '--claim-after-boot')
  const { rollout } = await rollOut('ZE-2')
  await client.call('GET', await link(client, 'deploymentBase'))
  for (const details of [['old'], ['old'], ['again']]) {
    expect(await client.tell('1000000001', 'closed', 'success', details)).toBe(200)
    expect(await stateOf(rollout)).toBe('testing')
  }
})

test('what was cancelled goes out no more; what is asked of a closed action is not about the next', async () => {
  const client = await device('SW-6', 'swupdate')
  await client.attributes({ swVersion: '1.0.0' })
  const first = await rollOut('SW-6')
  const href = await link(client, 'deploymentBase')
  const { json } = await client.call('GET', href)
  const image = json.deployment?.chunks[0]?.artifacts[0]?._links.download.href ?? ''
  expect((await client.call('HEAD', image)).status).toBe(200)
  expect((await client.call('GET', image)).status).toBe(200)
  await fleetseal('rollout', 'cancel', first.rollout)
  const cancel = await link(client, 'cancelAction')
  expect((await client.call('GET', image)).status).toBe(404)
  const closed = { status: { execution: 'closed', result: { finished: 'success' } } }
  expect((await client.call('POST', `${cancel}/feedback`, closed)).status).toBe(200)
  const second = await rollOut('SW-6')
  const next = await link(client, 'deploymentBase')
  expect(next).toContain('/deploymentBase/1000000002')
  expect((await client.call('GET', href)).status).toBe(404)
  expect((await client.call('GET', next)).json.id).toBe('1000000002')
  expect(await client.tell('1000000002', 'closed', 'failure')).toBe(200)
  expect((await client.call('GET', next)).status).toBe(404)
  expect(await stateOf(second.rollout)).toBe('failed')
  const taken = fleetseal('ddi', 'name', 'SW-6', (await device('SW-7', 'swupdate')).deviceId)
  await expect(taken).rejects.toThrow()
})

test('an image of another component is not offered as the one that the client writes', async () => {
  const client = await device('SW-8', 'swupdate')
  const how = ['--version-attribute', 'swVersion']
  const component = async (name: string) =>
    await fleetseal('ddi', 'model', 'gate-2', 'swupdate', '--component', name, ...how)
  await component('radio')
  const { rollout } = await rollOut('SW-8')
  expect((await client.root())._links?.deploymentBase).toBeUndefined()
  expect(await stateOf(rollout)).toBe('queued')
  await component('main')
  expect(await link(client, 'deploymentBase')).toContain('/1000000001?')
})

test('a feature asks first: only a generic client is shown it, to ask its owner', async () => {
  const client = await device('GE-1', 'generic')
  await client.attributes({ swVersion: '1.0.0' })
  const { rollout } = await rollOut('GE-1', { kind: 'feature' })
  const href = await link(client, 'confirmationBase')
  expect((await client.call('GET', href)).json.confirmation?.chunks).toHaveLength(1)
  expect(await stateOf(rollout)).toBe('offered')
  const path = '/confirmationBase/1000000001/feedback'
  expect((await client.call('POST', path, { confirmation: 'confirmed' })).status).toBe(200)
  expect(await stateOf(rollout)).toBe('accepted')
  await client.call('GET', await link(client, 'deploymentBase'))
  await fleetseal('ddi', 'model', 'gate-2', 'swupdate', '--version-attribute', 'swVersion')
  await client.tell('1000000001', 'proceeding', 'none')
  expect(await stateOf(rollout)).toBe('downloading')
})

test('a certificate is who it is: other names, other actions, cut off and unknown ones', async () => {
  const [one, other] = [
    await device('ID-1', 'swupdate'),
    await DdiClient.enroll(server, site, 'ID-2'),
  ]
  expect((await one.call('GET', '')).status).toBe(200)
  expect((await other.call('GET', '')).status).toBe(200)
  const foreign = await one.call('GET', other.url(''))
  const unknown = await one.call('GET', one.url('').replace(one.deviceId, 'nobody'))
  expect([foreign.status, unknown.status]).toEqual([403, 403])
  expect((await one.call('GET', '/deploymentBase/1000000001')).status).toBe(404)
  expect((await one.call('GET', '/deploymentBase/abc')).status).toBe(404)
  // Whoever has an old state must not go round in circles.
  expect(await one.tell('1000000077', 'closed', 'success')).toBe(200)
  const large = await one.call('POST', '/deploymentBase/1000000077/feedback', 'x'.repeat(1_000_000))
  expect(large.status).toBe(200)
  await fleetseal('ddi', 'name', 'ID-1', 'board-77')
  expect((await one.call('GET', one.url('').replace(one.deviceId, 'board-77'))).status).toBe(200)
  await fleetseal('device', 'disable', 'ID-1', '--reason', 'test')
  expect((await one.call('GET', '')).status).toBe(403)
  expect((await other.call('GET', '')).status).toBe(200)
})

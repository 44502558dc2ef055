import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { storeSettingsReports } from '../../server/settings/report.ts'
import { setSettings } from '../../server/settings/service.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'

const schema = {
  type: 'object',
  properties: { interval: { type: 'integer', minimum: 10, maximum: 3_600 } },
}
const zero = { build: 0, svn: 0 }

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

let build = 0

async function draft(component: 'config' | 'cfgschema', content: unknown) {
  build += 1
  const artifact = await world.upload(
    typeof content === 'string' ? content : JSON.stringify(content),
    `${component}.json`,
  )
  const { body } = await world.api.call('POST', '/releases', {
    model: 'gate-2',
    component,
    version: String(build),
    build,
    class: 'config',
    artifactId: artifact.id,
    hardwareIds: ['gate-2-r3'],
  })
  return String(body['id'])
}

/** Signed by the release keys; the first one of a model needs a delegation, signed by the targets keys. */
async function publish(component: 'config' | 'cfgschema', content: unknown): Promise<string> {
  const id = await draft(component, content)
  await world.call('POST', `/releases/${id}/actions`, { action: 'submit' })
  const delegations = await world.api.call('GET', '/metadata/targets/draft')
  if (delegations.status === 200) await world.sign('targets', world.keys.targets.slice(0, 2))
  await world.sign('cfg-gate-2', world.keys.release.slice(0, 2))
  await world.call('POST', `/releases/${id}/actions`, { action: 'publish' })
  return id
}

async function configurable() {
  const device = await world.device()
  const components = {
    main: { build: 400, svn: 0 },
    config: zero,
    cfgschema: zero,
    overrides: zero,
  }
  device.facts = { ...device.facts, components }
  const installed = Object.entries(components).map(([component, one]) => ({
    component,
    version: '0',
    sha256: '0'.repeat(64),
    ...one,
  }))
  await world.ctx.db
    .updateTable('device')
    .set({ installed: JSON.stringify(installed) })
    .where('id', '=', device.id)
    .execute()
  return device
}

describe('settings of the fleet', () => {
  test('are a release, signed offline by a role of their own, that a device takes', async () => {
    const id = await publish('config', '{ "interval": 60 }\n')
    const device = await configurable()
    await world.deploy(device.id, id)
    const { targets, policy } = await device.poll()
    expect(targets).toMatchObject([
      { path: `cfg/gate-2/${build}/config.json`, component: 'config', match: { kind: 'config' } },
    ])
    expect(policy).toMatchObject({ class: 'config', auto: true })
    expect(Object.keys(device.state.image.delegated)).toEqual(['cfg-gate-2'])
  })

  test('do not touch what the firmware role says, and the other way round', async () => {
    await world.publishRelease()
    await publish('config', { interval: 90 })
    const { body } = await world.api.call('GET', '/metadata')
    const roles = JSON.stringify(body)
    expect(roles).toContain('fw-gate-2')
    expect(roles).toContain('cfg-gate-2')
    const firmware = await world.device()
    const [release] = await world.ctx.db
      .selectFrom('release')
      .select('id')
      .where('component', '=', 'main')
      .execute()
    await world.deploy(firmware.id, release?.id ?? '')
    expect((await firmware.poll()).targets).toHaveLength(1)
  })

  test('have the class config, and no other', async () => {
    const artifact = await world.upload('{}')
    const { status, body } = await world.api.call('POST', '/releases', {
      model: 'gate-2',
      component: 'config',
      version: '99',
      build: 99,
      class: 'feature',
      artifactId: artifact.id,
      hardwareIds: ['gate-2-r3'],
    })
    expect(status).toBe(400)
    expect(body).toMatchObject({ at: 'class' })
  })

  test.each([
    ['cfgschema', { type: 'object', properties: { a: { type: 'string' } } }],
    ['cfgschema', 'no json'],
    ['config', '[]'],
  ] as const)(
    'a %s that a device could not read is not published: %j',
    async (component, content) => {
      const id = await draft(component, content)
      const { status, body } = await world.act(id, 'submit')
      expect(status).toBe(400)
      expect(body).toMatchObject({ code: 'invalid-request', at: 'artifactId' })
      await world.act(id, 'withdraw')
    },
  )

  test('the honest twin: a schema', async () => {
    expect(await publish('cfgschema', schema)).toMatch(/^[0-9a-f-]{36}$/)
  })
})

describe("a device's own settings", () => {
  const put = async (deviceId: string, settings: unknown) =>
    await world.api.call('PUT', `/devices/${deviceId}/settings`, { settings })
  const newest = async (deviceId: string) => {
    const { body } = await world.api.call('GET', `/devices/${deviceId}/settings`)
    return (body['items'] as Record<string, unknown>[])[0]
  }

  /** The device says it, and what the server sends it after. */
  async function report(deviceId: string, more: Record<string, unknown>) {
    const row = await newest(deviceId)
    const message = { deviceId, body: { deploymentId: String(row?.['id']), at: at(), ...more } }
    return await inTransaction(world.ctx.db, (tx) =>
      storeSettingsReports(tx, [message as never], world.ctx.clock.now()),
    )
  }
  const at = () => world.ctx.clock.now().toISOString()

  test('are signed by the director alone, with the schema that the device lacks', async () => {
    const device = await configurable()
    const { status, body } = await put(device.id, { interval: 120 })
    expect(status).toBe(200)
    expect(body).toMatchObject({ revision: 1, state: 'wanted' })
    const { targets, deploymentId } = await device.poll()
    expect(deploymentId).toBe(body['id'])
    expect(targets.map(({ component }) => component).sort()).toEqual(['cfgschema', 'overrides'])
    const again = await put(device.id, { interval: 120 })
    expect(again.body).toMatchObject({ revision: 1 })
    expect((await put(device.id, { interval: 121 })).body).toMatchObject({ revision: 2 })
  })

  test('104 outside of the schema are refused before the device hears of them', async () => {
    const device = await configurable()
    for (const settings of [{ interval: 5 }, { interval: 60, other: 1 }, { interval: '60' }]) {
      const { status, body } = await put(device.id, settings)
      expect(status).toBe(400)
      expect(body).toMatchObject({ code: 'invalid-request', at: 'settings' })
    }
    const deep = JSON.parse(`{"interval":${'['.repeat(60_000)}${']'.repeat(60_000)}}`) as object
    const command = { deviceId: device.id, settings: { ...deep }, actor: 'x', requestId: 'y' }
    await expect(setSettings(world.ctx, command)).rejects.toMatchObject({ code: 'invalid-request' })
    expect(await newest(device.id)).toBeUndefined()
    expect((await put(device.id, { interval: 60 })).status).toBe(200)
  })

  test('count as applied when the device proves them, and not before', async () => {
    const device = await configurable()
    await put(device.id, { interval: 300 })
    const { targets } = await device.poll()
    const sha256 = targets.find(({ component }) => component === 'overrides')?.sha256 ?? ''
    const { commits } = await report(device.id, { state: 'testing' })
    const [{ commitNonce } = { commitNonce: '' }] = commits
    expect(commitNonce).toMatch(/^[0-9a-f]{32}$/)
    const proof = { state: 'succeeded', sha256, commitNonce }
    await report(device.id, proof)
    expect(await newest(device.id)).toMatchObject({ state: 'wanted' })
    const installed = [{ component: 'overrides', version: '1', build: 1, svn: 0, sha256 }]
    await world.ctx.db
      .updateTable('device')
      .set({ installed: JSON.stringify(installed) })
      .where('id', '=', device.id)
      .execute()
    await report(device.id, { ...proof, commitNonce: '0'.repeat(32) })
    expect(await newest(device.id)).toMatchObject({ state: 'wanted' })
    await report(device.id, proof)
    expect(await newest(device.id)).toMatchObject({ state: 'applied' })
    expect((await device.poll()).targets).toEqual([])
  })
})

test("of two who say a device's own settings as they saw them, one does, from the first on", async () => {
  const device = await configurable()
  const path = `/devices/${device.id}/settings`
  const read = async (query = '') => await world.api.call('GET', `${path}${query}`)
  const putSeen = async (interval: number, tag: string) =>
    await world.api.call('PUT', path, { settings: { interval } }, { headers: { 'If-Match': tag } })
  for (const tag of ['"0"', '"1"']) {
    expect((await read()).headers.get('etag')).toBe(tag)
    const replies = await Promise.all(
      [200, 201].map((more) => putSeen(more + Number(tag[1]) * 9, tag)),
    )
    expect(replies.map(({ status }) => String(status)).toSorted()).toEqual(['200', '412'])
    expect(replies.find(({ status }) => status === 412)?.body['code']).toBe('precondition-failed')
  }
  // Of the newest, whichever page it is.
  const first = await read('?limit=1')
  const second = await read(`?limit=1&cursor=${String(first.body['nextCursor'])}`)
  expect(second.body).toMatchObject({ items: [{ revision: 1 }], revision: 2 })
  expect(second.headers.get('etag')).toBe('"2"')
})

describe('what is said of them', () => {
  const put = async (deviceId: string, settings: unknown) =>
    await world.api.call('PUT', `/devices/${deviceId}/settings`, { settings })
  const newest = async (deviceId: string) => {
    const { body } = await world.api.call('GET', `/devices/${deviceId}/settings`)
    return (body['items'] as Record<string, unknown>[])[0]
  }
  const at = () => world.ctx.clock.now().toISOString()

  test('that the device refused or took back say so; another device cannot', async () => {
    const [device, stranger] = [await configurable(), await configurable()]
    await put(device.id, { interval: 300 })
    const row = await newest(device.id)
    const forged = {
      deviceId: stranger.id,
      body: { deploymentId: String(row?.['id']), at: at(), state: 'failed_final' as const },
    }
    const { others } = await inTransaction(world.ctx.db, (tx) =>
      storeSettingsReports(tx, [forged], world.ctx.clock.now()),
    )
    expect(others).toEqual([forged])
    expect(await newest(device.id)).toMatchObject({ state: 'wanted' })
    const own = {
      deviceId: device.id,
      body: { ...forged.body, state: 'rolled_back' as const, code: 'no-commit' },
    }
    await inTransaction(world.ctx.db, (tx) =>
      storeSettingsReports(tx, [own], world.ctx.clock.now()),
    )
    expect(await newest(device.id)).toMatchObject({ state: 'reverted', code: 'no-commit' })
  })

  test('are for devices that can be configured, by those who may', async () => {
    const device = await world.device()
    expect((await put(device.id, {})).status).toBe(409)
    const able = await configurable()
    const key = { key: world.api.keys.viewer.secret }
    const path = `/devices/${able.id}/settings`
    expect((await world.api.call('PUT', path, { settings: {} }, key)).status).toBe(403)
    expect((await world.api.call('GET', path, undefined, key)).status).toBe(200)
  })
})

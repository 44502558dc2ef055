import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
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

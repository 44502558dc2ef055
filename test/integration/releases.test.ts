import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'

let world: ReleaseWorld
let handle: DatabaseHandle
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle)
  await world.publishRelease({ version: '2.0.0', build: 100, svn: 7 })
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

let build = 200
const post = async (changes: Record<string, unknown>) => {
  build += 1
  const body = await world.releaseBody({ version: `3.${build}`, build, ...changes })
  return await world.api.call('POST', '/releases', body)
}

describe('drafting a release', () => {
  test('the security version is the highest published unless it is said', async () => {
    expect((await post({})).body).toMatchObject({ state: 'draft', svn: 7, metadataVersion: null })
    expect((await post({ svn: 8 })).body).toMatchObject({ svn: 8 })
    expect((await post({ component: 'radio' })).body).toMatchObject({ svn: 0 })
  })

  test.each([
    ['fixes', { fixes: [] }],
    ['an advisory', { advisory: undefined }],
  ])('102: a security release without %s is refused; a feature is not', async (_, missing) => {
    expect(await post(missing)).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
    expect((await post({ ...missing, class: 'feature' })).status).toBe(201)
  })

  test.each([
    ['a lower security version', { svn: 6 }, 409],
    ['a build that is not above the published', { build: 100 }, 409],
    ['a version that was published', { version: '2.0.0' }, 409],
    ['hardware of no model', { hardwareIds: ['gate-9'] }, 400],
    ['no such model', { model: 'gate-9' }, 400],
    ['no such artifact', { artifactId: '0192f3c4-7d1e-7c3a-9b5e-2f60a1c4d7e8' }, 400],
    ['a step above itself', { minPrevious: 10_000 }, 400],
    ['itself as a requirement', { requires: { main: 1 } }, 400],
    ['quotes in what enters metadata', { fixes: ['CVE-"1"'] }, 400],
    [
      'a line break in what enters metadata',
      { advisory: { id: 'a\nb', severity: 'low', url: '/a' } },
      400,
    ],
    ['a folder in the version', { version: '../1' }, 400],
    ['a negative build', { build: -1 }, 400],
    ['a fraction', { build: 1.5 }, 400],
    ['fields that do not exist', { signed: true }, 400],
  ])('%s is refused', async (_, changes, status) => {
    expect((await post(changes)).status).toBe(status)
  })

  test('a version or build is drafted once; an idempotency key gives the same one again', async () => {
    const body = await world.releaseBody({ version: '4.0.0', build: 400 })
    const headers = { 'Idempotency-Key': 'release-400' }
    const first = await world.api.call('POST', '/releases', body, { headers })
    const again = await world.api.call('POST', '/releases', body, { headers })
    expect(again.body['id']).toBe(first.body['id'])
    const other = await world.api.call('POST', '/releases', body)
    expect(other).toMatchObject({ status: 409, body: { code: 'conflict' } })
  })

  test('a viewer may read releases but not make or move them', async () => {
    const key = world.api.keys.viewer.secret
    const list = await world.api.call('GET', '/releases?model=gate-2&limit=1', undefined, { key })
    expect(list.body.items).toHaveLength(1)
    const id = String(list.body.items?.[0]?.['id'])
    expect((await world.api.call('GET', `/releases/${id}`, undefined, { key })).status).toBe(200)
    const body = { action: 'submit' }
    const act = await world.api.call('POST', `/releases/${id}/actions`, body, { key })
    expect(act.status).toBe(403)
  })
})

describe('what the next file lists', () => {
  const draftedPaths = async () => {
    const draft = await world.call('GET', '/metadata/fw-gate-2/draft')
    return Object.keys((JSON.parse(String(draft['signed'])) as { targets: object }).targets)
  }

  test('current, previous, submitted, and the step that one of them demands', async () => {
    for (const [version, number, minPrevious] of [
      ['5.0', 500, undefined],
      ['5.1', 510, undefined],
      ['5.2', 520, 500],
      ['5.3', 530, 520],
    ] as const) {
      await world.publishRelease({
        version,
        build: number,
        ...(minPrevious ? { minPrevious } : {}),
      })
    }
    const id = await world.draftRelease({ version: '5.4', build: 540 })
    await world.act(id, 'submit')
    // 5.4 and 5.3 are the newest two; 5.3 leads through 5.2, and 5.2 through 5.1, the newest from 500 on.
    expect((await draftedPaths()).map((path) => path.split('/')[2])).toEqual([
      '5.1',
      '5.2',
      '5.3',
      '5.4',
    ])
    await world.act(id, 'withdraw')
  })

  test('a withdrawn submission leaves no draft behind', async () => {
    const id = await world.draftRelease({ version: '6.0', build: 600 })
    await world.act(id, 'submit')
    expect(await draftedPaths()).toContain('fw/gate-2/6.0/main.bin')
    await world.act(id, 'withdraw')
    const draft = await world.api.call('GET', '/metadata/fw-gate-2/draft')
    const paths = draft.status === 404 ? [] : await draftedPaths()
    expect(paths).not.toContain('fw/gate-2/6.0/main.bin')
  })

  test('a build that a rollout still gives out stays, however old', async () => {
    const old = await world.publishRelease({ version: '7.0', build: 700 })
    await world.deploy((await world.device()).id, old)
    for (const number of [710, 720]) {
      await world.publishRelease({ version: `7.${number}`, build: number })
    }
    const id = await world.draftRelease({ version: '7.9', build: 790 })
    await world.act(id, 'submit')
    expect(await draftedPaths()).toContain('fw/gate-2/7.0/main.bin')
  })
})

test('a gap before a release is refused, and is none for devices that come with such a build', async () => {
  const id = await world.draftRelease({ version: '8.9', build: 890, minPrevious: 880 })
  const submit = async () => {
    const path = `/releases/${id}/actions`
    return await world.api.call('POST', path, { action: 'submit' })
  }
  const refused = await submit()
  expect(refused.status).toBe(409)
  expect(refused.body).toMatchObject({ code: 'conflict', at: 'minPrevious' })
  const device = await world.device()
  const runs = { component: 'main', version: '8.8', build: 880, svn: 1, sha256: '0'.repeat(64) }
  await world.ctx.db
    .updateTable('device')
    .set({ model: 'gate-2', installed: JSON.stringify([runs]) })
    .where('id', '=', device.id)
    .execute()
  expect((await submit()).status).toBe(200)
  await world.act(id, 'withdraw')
})

describe('models', () => {
  test('a name is given once', async () => {
    const body = { name: 'gate-2', hardwareIds: ['x'] }
    expect((await world.api.call('POST', '/models', body)).status).toBe(409)
    expect((await world.call('GET', '/models/gate-2'))['hardwareIds']).toEqual([
      'gate-2-r3',
      'gate-2-r4',
    ])
  })

  test.each([
    [{ name: 'Gate', hardwareIds: ['x'] }],
    [{ name: 'gate-3', hardwareIds: [] }],
    [{ name: 'gate-3', hardwareIds: ['x', 'x'] }],
    [{ name: 'gate-3', hardwareIds: ['x"'] }],
  ])('%j is refused', async (body) => {
    expect((await world.api.call('POST', '/models', body)).status).toBe(400)
  })
})

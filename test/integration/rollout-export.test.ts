import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { whileAllowed } from '../../server/deployments/export-routes.ts'
import { csvLine, resultsOf } from '../../server/deployments/export.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenMet } from '../support/rollout-given.ts'
import { report } from '../support/rollout-messages.ts'
import { rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
let api: TestApi
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
  api = await startApi(handle)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const head =
  'deviceId,serialNumber,phase,state,code,detail,attempts,component,admittedAt,firstOfferedAt,startedAt,endedAt,fromBuild,toBuild,deploymentId'

test('JSON and CSV of every device, with its own words and nothing that a spreadsheet runs', async () => {
  const { ids, deployments, rolloutId, release } = await givenMet(world, 3)
  const [device = ''] = ids
  const detail = '=HYPERLINK("http://x","disk, full")'
  await report(world, device, deployments[0] ?? '', 'failed_final', { code: 'no-space', detail })
  const json = await api.call('GET', `/rollouts/${rolloutId}/results`)
  const rows = JSON.parse(json.text) as Record<string, unknown>[]
  expect(rows.map((row) => row['deviceId'])).toEqual(ids.toSorted())
  expect(rows.find((row) => row['deviceId'] === device)).toMatchObject({
    state: 'failed_final',
    code: 'no-space',
    detail,
    phase: 1,
    toBuild: release.build,
    endedAt: expect.any(String),
    deploymentId: deployments[0],
  })
  const csv = await api.call('GET', `/rollouts/${rolloutId}/results?format=csv`)
  expect(csv.headers.get('content-type')).toBe('text/csv; charset=utf-8')
  const lines = csv.text.split('\r\n')
  expect(lines).toHaveLength(5)
  expect(lines[0]).toBe(head)
  expect(csv.text).toContain(`"'=HYPERLINK(""http://x"",""disk, full"")"`)
})

test.each([
  ['=1+1', `'=1+1`],
  ['+1', `'+1`],
  ['-1', `'-1`],
  ['@x', `'@x`],
  ['\tx', `'\tx`],
  ['\n=1+1', `"'\n=1+1"`],
  ['a,b', '"a,b"'],
  ['a"b', '"a""b"'],
  ['a\r\nb', '"a\r\nb"'],
  ['plain - text = 1', 'plain - text = 1'],
])('the cell %j', (text, cell) => {
  expect(csvLine([text, 1, null])).toBe(`${cell},1,\r\n`)
})

test('page by page: one statement for so many, whatever their number', async () => {
  const { rolloutId } = await givenMet(world, 501)
  let seen = 0
  const statements = await world.counter.during(async () => {
    for await (const page of resultsOf(world.ctx.db, { rolloutId, reach: 'fleet' })) {
      expect(page.length).toBeLessThanOrEqual(500)
      seen += page.length
    }
  })
  expect([seen, statements]).toEqual([501, 2])
})

test('nobody met is an empty list; no rollout is none', async () => {
  const { rolloutId } = await givenMet(world, 0)
  expect((await api.call('GET', `/rollouts/${rolloutId}/results`)).text).toBe('[]\n')
  const csv = await api.call('GET', `/rollouts/${rolloutId}/results?format=csv`)
  expect(csv.text).toBe(`${head}\r\n`)
  const none = '0192f3c4-7d1e-7c3a-9b5e-2f60a1c4d7e8'
  expect((await api.call('GET', `/rollouts/${none}/results`)).status).toBe(404)
  expect((await api.call('GET', `/rollouts/${rolloutId}/results?format=xml`)).status).toBe(400)
})

test('a key that is revoked meanwhile is handed no further page', async () => {
  const made = await api.call('POST', '/api-keys', { name: 'short', role: 'viewer' })
  const id = String(made.body['id'])
  async function* pages() {
    for (const _ of [1, 2, 3]) yield await Promise.resolve([])
  }
  const all = async (actor: string, afterFirst: () => Promise<void>) => {
    let count = 0
    for await (const _ of whileAllowed(
      api.ctx,
      { actor, permission: 'rollouts:read', reach: 'fleet' },
      pages(),
    ))
      if (++count === 1) await afterFirst()
    return count
  }
  expect(await all(`key:${id}`, async () => {})).toBe(3)
  const revoke = async () => {
    expect((await api.call('DELETE', `/api-keys/${id}`)).status).toBe(204)
  }
  await expect(all(`key:${id}`, revoke)).rejects.toMatchObject({ code: 'not-allowed' })
})

test('neither is one that may not read rollouts any more', async () => {
  const made = await api.call('POST', '/api-keys', { name: 'other', role: 'viewer' })
  const actor = `key:${String(made.body['id'])}`
  async function* pages() {
    for (const _ of [1, 2]) yield await Promise.resolve([])
  }
  const began = { actor, permission: 'rollouts:read', reach: 'fleet' } as const
  const read = whileAllowed(api.ctx, began, pages())
  expect((await read.next()).done).toBe(false)
  await api.call('PUT', `/grants/${actor}`, { grants: [{ role: 'signer' }] })
  await expect(read.next()).rejects.toMatchObject({ code: 'not-allowed' })
})

import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { newBuild } from '../support/rollout-given.ts'
import {
  givenGroup,
  givenRelease,
  givenRollout,
  rolloutWorld,
  type RolloutWorld,
} from '../support/rollout-world.ts'

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

/** Reads to the end, or to the event that is waited for. */
async function watch(rolloutId: string, key: string) {
  const response = await fetch(`${api.url}/api/v1/rollouts/${rolloutId}/events`, {
    headers: { authorization: `Bearer ${key}` },
  })
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  return {
    status: response.status,
    until: async (word: string) => {
      while (!text.includes(word)) {
        const { done, value = '' } = (await reader?.read()) ?? { done: true }
        if (done) return text
        text += value
      }
      return text
    },
    [Symbol.asyncDispose]: async () => await reader?.cancel(),
  }
}

test('who is limited to a group watches its rollouts, as long as they are about it alone', async () => {
  const [mine, theirs] = [await givenGroup(world), await givenGroup(world)]
  const release = await givenRelease(world, { build: newBuild() })
  const id = await givenRollout(world, mine, release.id)
  const foreign = await givenRollout(world, theirs, release.id)
  const body = { name: 'Ada', role: 'operator', groupIds: [mine] }
  const secret = String((await api.call('POST', '/api-keys', body)).body['secret'])
  await using refused = await watch(foreign, secret)
  expect(refused.status).toBe(404)
  await using limited = await watch(id, secret)
  await using fleet = await watch(id, api.keys.viewer.secret)
  expect(await limited.until('event: snapshot')).toContain(id)
  await fleet.until('event: snapshot')
  const cohort = { phases: [{ cohort: theirs }, { percent: 100 }] }
  expect((await api.call('PATCH', `/rollouts/${id}`, cohort)).status).toBe(200)
  expect(await fleet.until('event: change')).toContain(theirs)
  const seen = await limited.until('key-refused')
  expect(seen).toContain('event: end')
  expect(seen).not.toContain(theirs)
}, 120_000)

import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { nudgeSilent } from '../../server/deployments/nudge.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenStarted } from '../support/rollout-given.ts'
import { deploymentIdOf, hello, report } from '../support/rollout-messages.ts'
import { rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

test('who was told of an update, or that its image was seen, and went quiet is asked again after a minute; who is at work is left alone', async () => {
  const { ids, rolloutId } = await givenStarted(world, 3)
  const [queued = '', testing = '', loading = ''] = ids
  await meetDevices(world.ctx, ids)
  await report(world, testing, await deploymentIdOf(world, rolloutId, testing), 'testing')
  await report(world, loading, await deploymentIdOf(world, rolloutId, loading), 'downloading')
  const nudged = async () => {
    world.woken.length = 0
    await nudgeSilent(world.ctx, ids)
    return world.woken.toSorted()
  }
  world.clock.advance({ seconds: 59 })
  expect(await nudged()).toEqual([])
  world.clock.advance({ seconds: 2 })
  expect(await nudged()).toEqual([queued, testing].toSorted())

  world.connected.add(testing)
  world.sent.length = 0
  await hello(world, testing)
  const commits = world.sent.filter(({ leaf }) => leaf === 'command').map(({ body }) => body)
  expect(commits).toEqual([expect.objectContaining({ command: 'commit' })])
})

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { readDesired } from '../../server/director/store.ts'
import type { DeploymentState } from '../../server/protocol/deployment.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { createTestDatabase } from '../support/database.ts'
import { newBuild } from '../support/rollout-given.ts'
import { deploymentIdOf } from '../support/rollout-messages.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
  installedBuild,
  rolloutWorld,
  type RolloutWorld,
} from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

interface Given {
  class: 'security' | 'feature'
  state: DeploymentState
  postponedHours?: number
}

/** Which of these deployments, each of a component of its own and a minute younger than the one before, is offered. */
async function offered(...given: readonly Given[]): Promise<number> {
  const groupId = await givenGroup(world)
  const components = given.map((_, n) => `part-${n}`)
  const installed = components.map((component) => installedBuild(1, { component }))
  const [device = ''] = await givenDevices(world, groupId, 1, { installed })
  const ids: string[] = []
  for (const [n, { state, postponedHours, ...one }] of given.entries()) {
    world.clock.advance({ seconds: 60 })
    const component = components[n] ?? ''
    const release = await givenRelease(world, { build: newBuild(), component, class: one.class })
    const rolloutId = await givenRollout(world, groupId, release.id)
    await act(world, rolloutId, 'start')
    await meetDevices(world.ctx, [device])
    const id = await deploymentIdOf(world, rolloutId, device)
    ids.push(id)
    const until =
      postponedHours === undefined
        ? null
        : new Date(world.clock.now().getTime() + postponedHours * 3_600_000)
    await world.db
      .updateTable('deployment')
      .set({ state, postponed_until: until })
      .where('id', '=', id)
      .execute()
  }
  const [row] = await readDesired(world.db, [device], world.clock.now())
  return ids.indexOf(row?.deployment?.id ?? '')
}

const feature = (state: DeploymentState, more: Partial<Given> = {}): Given => ({
  class: 'feature',
  state,
  ...more,
})
const security = (state: DeploymentState, more: Partial<Given> = {}): Given => ({
  ...feature(state, more),
  class: 'security',
})

describe('of several components, a device is told of', () => {
  test('the oldest, when all are alike', async () => {
    expect(await offered(feature('queued'), feature('queued'))).toBe(0)
  })

  test('a security release before an older feature that nobody has started', async () => {
    expect(await offered(feature('offered'), security('queued'))).toBe(1)
  })

  test('what it works on before a security release', async () => {
    expect(await offered(feature('downloading'), security('queued'))).toBe(0)
    expect(await offered(feature('failed'), security('accepted'))).toBe(0)
    expect(await offered(feature('accepted'), security('queued'))).toBe(0)
  })

  test('anything before what its owner does not want', async () => {
    expect(await offered(security('opted_out'), feature('queued'))).toBe(1)
    expect(await offered(feature('opted_out'), security('queued'))).toBe(1)
    expect(await offered(security('opted_out'))).toBe(0)
  })

  test('anything before what its owner put off, until that has run out', async () => {
    expect(await offered(security('postponed', { postponedHours: 5 }), feature('queued'))).toBe(1)
    expect(await offered(security('postponed', { postponedHours: -1 }), feature('queued'))).toBe(0)
    expect(await offered(security('postponed', { postponedHours: 5 }))).toBe(0)
  })
})

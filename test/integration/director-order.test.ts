import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { readDesired } from '../../server/director/store.ts'
import type { DeploymentState } from '../../server/protocol/deployment.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { createTestDatabase } from '../support/database.ts'
import { newBuild } from '../support/rollout-given.ts'
import { choose, deploymentIdOf, report } from '../support/rollout-messages.ts'
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

/** A device with these deployments, each of a component of its own and a minute younger than the one before. */
async function givenSeveral(given: readonly Given[]) {
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
  return { device, ids }
}

/** Which of them is offered. */
async function offered(...given: readonly Given[]): Promise<number> {
  const { device, ids } = await givenSeveral(given)
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

describe('a device asks again at once', () => {
  const woken = async (given: readonly Given[], what: Parameters<typeof choose>[2]['choice']) => {
    const { device, ids } = await givenSeveral(given)
    const [first = ''] = ids
    world.woken.length = 0
    const until = new Date(world.clock.now().getTime() + 3_600_000).toISOString()
    if (what === 'postpone')
      await choose(world, device, { choice: what, deploymentId: first, until })
    else await choose(world, device, { choice: what })
    return world.woken.includes(device)
  }

  test('when its owner puts off one and another could begin', async () => {
    expect(await woken([feature('offered'), security('queued')], 'postpone')).toBe(true)
  })

  test('but not when there is nothing else, or nothing its owner wants', async () => {
    expect(await woken([feature('offered')], 'postpone')).toBe(false)
    expect(await woken([feature('offered'), security('opted_out')], 'postpone')).toBe(false)
  })

  test('when one has ended and another was queued behind it', async () => {
    const { device, ids } = await givenSeveral([feature('downloading'), security('queued')])
    world.woken.length = 0
    await report(world, device, ids[0] ?? '', 'failed_final', { code: 'no' })
    expect(world.woken).toContain(device)
  })
})

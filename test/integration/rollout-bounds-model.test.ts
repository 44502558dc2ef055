import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endOverdue } from '../../server/deployments/end.ts'
import { DomainError } from '../../server/errors.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { createTestDatabase } from '../support/database.ts'
import { brokenBounds, givenBounded } from '../support/rollout-bounds.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { choose, deploymentOf, hello, report } from '../support/rollout-messages.ts'
import { act, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

const device = fc.nat({ max: 7 })
const rollout = fc.nat({ max: 2 })
const states = ['offered', 'downloading', 'verified', 'installing', 'testing'] as const
const event = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('meet' as const), rollout }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('report' as const),
      device,
      rollout,
      state: fc.constantFrom(...states, 'failed_final' as const, 'opted_out' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('hello' as const), device, rollout }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('choose' as const),
      device,
      rollout,
      choice: fc.constantFrom('accept', 'postpone'),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      seconds: fc.constantFrom(1, 7, 61, 3_700, 100_000),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('act' as const),
      rollout,
      action: fc.constantFrom('pause', 'resume', 'advance'),
    }),
  },
)
type Event = typeof event extends fc.Arbitrary<infer E> ? E : never

/** Three rollouts, each bounded otherwise, to eight devices each. */
async function scene() {
  const slots = await givenBounded(world, 8, { max_in_flight: 2 })
  const rated = await givenBounded(world, 8, { max_in_flight: 5 }, { rate: { perMinute: 3 } })
  const counted = await givenBounded(
    world,
    8,
    { bytes_per_minute: 1_000 },
    { kind: 'count', count: 3 },
    [{ percent: 50 }, { percent: 100 }],
  )
  return [slots, rated, counted]
}
type Scene = Awaited<ReturnType<typeof scene>>

async function happen(given: Scene, what: Event): Promise<void> {
  const { ids, rolloutId } = given['rollout' in what ? what.rollout : 0] ?? {
    ids: [],
    rolloutId: '',
  }
  const deviceId = ids['device' in what ? what.device : 0] ?? ''
  switch (what.do) {
    case 'meet':
      // As several processes would.
      await Promise.all(
        [ids, ids.slice(0, 4), ids.slice(4)].map((some) => meetDevices(world.ctx, some)),
      )
      return
    case 'report': {
      const row = await deploymentOf(world, rolloutId, deviceId)
      if (row) await report(world, deviceId, row.id, what.state)
      return
    }
    case 'hello':
      return await hello(world, deviceId)
    case 'choose': {
      const until = new Date(world.clock.now().getTime() + 3_600_000).toISOString()
      return await choose(world, deviceId, { choice: what.choice as 'accept', until })
    }
    case 'wait':
      world.clock.advance({ seconds: what.seconds })
      await driveRollouts(world.ctx, createLookLimit())
      await endOverdue(world.ctx)
      return
    case 'act':
      await act(world, rolloutId, what.action as 'pause').catch(onlyRefusals)
      return
    default:
      throw new Error(what satisfies never)
  }
}

function onlyRefusals(error: unknown): void {
  if (!(error instanceof DomainError)) throw error
}

test('whatever happens at once: no bound is passed, no slot is lost, nothing is done twice', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(event, { minLength: 1, maxLength: 6 }), { minLength: 6, maxLength: 12 }),
      async (turns) => {
        const given = await scene()
        for (const turn of turns) await Promise.all(turn.map((what) => happen(given, what)))
        const ids = given.map((one) => one.rolloutId)
        expect(await brokenBounds(world, ids)).toEqual([])
        expect(await brokenInvariants(world)).toEqual([])
        // What has room still gets it: nothing is held by what is over.
        for (const { ids: devices, rolloutId } of given) {
          await act(world, rolloutId, 'cancel').catch(onlyRefusals)
          expect(await meetDevices(world.ctx, devices)).toEqual([])
        }
      },
    ),
    { seed: 20_261_126, numRuns: 6, endOnFailure: true },
  )
}, 180_000)

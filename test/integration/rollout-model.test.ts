import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endCancelled, endGone, endOverdue } from '../../server/deployments/end.ts'
import { DomainError } from '../../server/errors.ts'
import { newId } from '../../server/ids.ts'
import { deploymentStates } from '../../server/protocol/deployment.ts'
import { retryFailed, rollBack } from '../../server/rollouts/derived.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { operatorActions } from '../../server/rollouts/state.ts'
import { createTestDatabase } from '../support/database.ts'
import { newBuild } from '../support/rollout-given.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { choose, hello, report } from '../support/rollout-messages.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
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

const device = fc.nat({ max: 3 })
const rollout = fc.nat({ max: 2 })
const event = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('report' as const),
      device,
      rollout,
      state: fc.constantFrom(...deploymentStates),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('act' as const),
      rollout,
      action: fc.constantFrom(...operatorActions),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('choose' as const),
      device,
      choice: fc.constantFrom('accept', 'postpone', 'optOut', 'optIn'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('hello' as const), device, optOut: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('meet' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('wait' as const), hours: fc.constantFrom(1, 30) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('work' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('revoke' as const), device }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('derive' as const),
      rollout,
      kind: fc.constantFrom('retry', 'rollback'),
    }),
  },
)
type Event = typeof event extends fc.Arbitrary<infer E> ? E : never

/** Four devices, and three rollouts to them that get in each other's way. */
async function scene() {
  const groupId = await givenGroup(world)
  const devices = await givenDevices(world, groupId, 4)
  const rollouts: string[] = []
  for (const percents of [[100], [50, 100], [100]]) {
    const release = await givenRelease(world, { build: newBuild() })
    const phases = percents.map((percent) => ({ percent }))
    rollouts.push(await givenRollout(world, groupId, release.id, phases))
  }
  for (const id of rollouts.slice(0, 2)) await act(world, id, 'start')
  return { devices, rollouts }
}
type Scene = Awaited<ReturnType<typeof scene>>

async function happen({ devices, rollouts }: Scene, what: Event): Promise<void> {
  const deviceId = devices['device' in what ? what.device : 0] ?? ''
  const rolloutId = rollouts['rollout' in what ? what.rollout : 0] ?? ''
  switch (what.do) {
    case 'report':
      return await reportAs(rolloutId, deviceId, what.state)
    case 'act':
      return await act(world, rolloutId, what.action).then(() => {}, onlyRefusals)
    case 'choose': {
      const until = new Date(world.clock.now().getTime() + 3_600_000).toISOString()
      return await choose(world, deviceId, { choice: what.choice, until })
    }
    case 'hello':
      return await hello(world, deviceId, { optOut: what.optOut })
    case 'meet':
      return void (await meetDevices(world.ctx, devices))
    case 'wait':
      return world.clock.advance({ seconds: what.hours * 3_600 })
    case 'work':
      return await work()
    case 'revoke':
      await world.db
        .updateTable('device')
        .set({ state: 'revoked' })
        .where('id', '=', deviceId)
        .execute()
      return
    case 'derive':
      return await derive(rolloutId, what.kind)
    default:
      return what satisfies never
  }
}

/** Tries again or goes back, at once. */
async function derive(rolloutId: string, kind: 'retry' | 'rollback'): Promise<void> {
  const command = { id: newId(world.clock.now()), rolloutId, ...world.by }
  const make = kind === 'retry' ? retryFailed : rollBack
  const made = await make(world.ctx, command).catch(onlyRefusals)
  if (made) await act(world, made.id, 'start').catch(onlyRefusals)
}

async function reportAs(
  rolloutId: string,
  deviceId: string,
  state: (typeof deploymentStates)[number],
) {
  const row = await world.db
    .selectFrom('deployment')
    .selectAll()
    .where('rollout_id', '=', rolloutId)
    .where('device_id', '=', deviceId)
    .executeTakeFirst()
  if (row)
    await report(world, deviceId, row.id, state, {
      code: 'net',
      commitNonce: row.commit_nonce ?? '0'.repeat(32),
    })
}

async function work(): Promise<void> {
  await Promise.all([
    driveRollouts(world.ctx, createLookLimit()),
    endOverdue(world.ctx),
    endCancelled(world.ctx),
    endGone(world.ctx, 'all'),
  ])
}

function onlyRefusals(error: unknown): void {
  if (!(error instanceof DomainError)) throw error
}

test('whatever devices, owners, operators and the clock do: one open deployment, right counts, whole histories', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 20, maxLength: 60 }), async (events) => {
      const given = await scene()
      await meetDevices(world.ctx, given.devices)
      for (const what of events) await happen(given, what)
      expect(await brokenInvariants(world)).toEqual([])
    }),
    { seed: 20_261_126, numRuns: 25 },
  )
})

test('the same when several things happen at once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(event, { minLength: 2, maxLength: 5 }), { minLength: 5, maxLength: 12 }),
      async (turns) => {
        const given = await scene()
        await meetDevices(world.ctx, given.devices)
        for (const turn of turns) await Promise.all(turn.map((what) => happen(given, what)))
        expect(await brokenInvariants(world)).toEqual([])
      },
    ),
    { seed: 20_261_127, numRuns: 20 },
  )
})

test('abort: when the first ten all fail, nothing more is admitted, whoever asks', async () => {
  const groupId = await givenGroup(world)
  const devices = await givenDevices(world, groupId, 40)
  const release = await givenRelease(world, { build: newBuild() })
  const id = await givenRollout(world, groupId, release.id)
  await act(world, id, 'start')
  const first = devices.slice(0, 10)
  await meetDevices(world.ctx, first)
  await Promise.all(first.map(async (one) => await reportAs(id, one, 'failed_final')))
  const met = await Promise.all([
    meetDevices(world.ctx, devices),
    meetDevices(world.ctx, devices.slice(10)),
    work(),
  ])
  expect(met.slice(0, 2)).toEqual([[], []])
  const rows = await world.db
    .selectFrom('deployment')
    .select('id')
    .where('rollout_id', '=', id)
    .execute()
  expect(rows).toHaveLength(10)
  expect(await brokenInvariants(world)).toEqual([])
})

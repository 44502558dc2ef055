import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { previewRollout } from '../../server/rollouts/preview.ts'
import { stopWithdrawn } from '../../server/rollouts/withdrawn.ts'
import { createTestDatabase } from '../support/database.ts'
import { newBuild } from '../support/rollout-given.ts'
import { deploymentIdOf, deploymentOf, hello, report } from '../support/rollout-messages.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
  installedBuild,
  type Release,
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

const radioAt = (build: number, more = {}) => installedBuild(build, { component: 'radio', ...more })

/** A main image that needs a radio image, both in one rollout, and a device. */
async function givenPair({ radio = radioAt(1), requires = true } = {}) {
  const groupId = await givenGroup(world)
  const [device = ''] = await givenDevices(world, groupId, 1, {
    installed: [installedBuild(1), ...(radio ? [radio] : [])],
  })
  const other = await givenRelease(world, { component: 'radio', build: newBuild() })
  const main = await givenRelease(world, {
    build: newBuild(),
    ...(requires && { requires: { radio: other.build } }),
  })
  const rolloutId = await givenRollout(world, groupId, main.id, undefined, [other.id])
  return { groupId, device, main, other, rolloutId }
}

async function prove(device: string, rolloutId: string, main: Release, installed: unknown[]) {
  const id = await deploymentIdOf(world, rolloutId, device)
  await report(world, device, id, 'testing')
  await hello(world, device, { installed: installed as never })
  const row = await deploymentOf(world, rolloutId, device)
  const proof = { commitNonce: row?.commit_nonce ?? '', sha256: main.sha256 }
  await report(world, device, id, 'succeeded', proof)
  return (await deploymentOf(world, rolloutId, device))?.state
}

describe('releases that are given out together', () => {
  test('reach a device that has what neither needs alone', async () => {
    const { device, rolloutId } = await givenPair()
    await act(world, rolloutId, 'start')
    expect(await meetDevices(world.ctx, [device])).toEqual([device])
    expect((await previewRollout(world.ctx, rolloutId)).devices).toBe(1)
  })

  test('without the one that is needed, the device is not met', async () => {
    const { groupId, device, main } = await givenPair()
    const alone = await givenRollout(world, groupId, main.id)
    await act(world, alone, 'start')
    expect(await meetDevices(world.ctx, [device])).toEqual([])
    expect((await previewRollout(world.ctx, alone)).excluded).toEqual({ incompatible: 1 })
  })

  test('36 a device that lacks the component is not met, and the preview says so', async () => {
    const { groupId, main, other } = await givenPair()
    const [bare = ''] = await givenDevices(world, groupId, 1)
    const rolloutId = await givenRollout(world, groupId, main.id, undefined, [other.id])
    expect((await previewRollout(world.ctx, rolloutId)).excluded).toEqual({ incompatible: 1 })
    await act(world, rolloutId, 'start')
    expect(await meetDevices(world.ctx, [bare])).toEqual([])
  })

  test('count as proven only when all of them run', async () => {
    const half = await givenPair()
    await act(world, half.rolloutId, 'start')
    await meetDevices(world.ctx, [half.device])
    const main = installedBuild(half.main.build, { sha256: half.main.sha256 })
    expect(await prove(half.device, half.rolloutId, half.main, [main, radioAt(1)])).toBe('testing')

    const whole = await givenPair()
    await act(world, whole.rolloutId, 'start')
    await meetDevices(world.ctx, [whole.device])
    const both = [
      installedBuild(whole.main.build, { sha256: whole.main.sha256 }),
      radioAt(whole.other.build, { sha256: whole.other.sha256 }),
    ]
    expect(await prove(whole.device, whole.rolloutId, whole.main, both)).toBe('succeeded')
  })
})

describe('a set of releases', () => {
  test('ends together: one of them withdrawn cancels the rollout', async () => {
    const { rolloutId, other } = await givenPair()
    await act(world, rolloutId, 'start')
    await world.db
      .updateTable('release')
      .set({ state: 'withdrawn' })
      .where('id', '=', other.id)
      .execute()
    await stopWithdrawn(world.ctx)
    const { state } = await world.db
      .selectFrom('rollout')
      .select('state')
      .where('id', '=', rolloutId)
      .executeTakeFirstOrThrow()
    expect(state).toBe('cancelled')
  })

  test('45 one component twice, or another model, is refused', async () => {
    const { groupId, main, other } = await givenPair()
    const again = await givenRelease(world, { component: 'radio', build: newBuild() })
    const foreign = await givenRelease(world, { model: 'lamp-1', component: 'led' })
    const along = async (...ids: string[]) =>
      await givenRollout(world, groupId, main.id, undefined, ids)
    await expect(along(other.id, again.id)).rejects.toThrow('one release of each component')
    await expect(along(main.id)).rejects.toThrow('named twice')
    await expect(along(foreign.id)).rejects.toThrow('of one model')
    expect(await along(other.id)).toMatch(/^[0-9a-f-]{36}$/)
  })
})

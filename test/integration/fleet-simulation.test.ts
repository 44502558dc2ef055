import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { type Played, playModel, playReal } from '../support/fleet/play.ts'
import { rolloutWorld } from '../support/rollout-world.ts'

/* More seeds and larger fleets: `npm run simulate`. */

let handle: DatabaseHandle
beforeAll(async () => {
  handle = await createTestDatabase()
})
afterAll(() => handle[Symbol.asyncDispose]())

const figures = (played: Played) => ({ ...played, seconds: 0 })

describe('a fleet in virtual time', () => {
  test('the model of the engine does what the engine does, device by device', async () => {
    const play = { seed: 11, devices: 100, image: 'good', turnEveryS: 900 } as const
    const real = await playReal(rolloutWorld(handle), play)
    expect(real.broken).toEqual([])
    expect(figures(real)).toEqual(figures(await playModel(play)))
  }, 180_000)

  test('a good image reaches all but who is never heard of, and one that fails on three in a hundred is stopped before one in a hundred has it', async () => {
    for (const seed of [1, 2]) {
      const good = await playModel({ seed, devices: 5_000, image: 'good' })
      expect(good.broken).toEqual([])
      const failing = await playModel({ seed, devices: 100_000, image: 'failing' })
      expect(failing.broken).toEqual([])
      expect(failing.admitted).toBeLessThan(1_000)
      expect(failing.state).toBe('paused')
    }
  }, 180_000)
})

import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { followCertificates } from '../../server/deployments/certificates.ts'
import { meetingWorker } from '../../server/rollouts/workers.ts'
import { createTestDatabase } from '../support/database.ts'
import { createRenewalWorld, type RenewalWorld } from '../support/renewal-world.ts'

let handle: DatabaseHandle
let world: RenewalWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createRenewalWorld(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

test('connected devices that a bound keeps back are told to renew when there is room, not a minute later', async () => {
  const { groupId, devices, ids } = await world.givenFleet(5)
  const issuer = await world.givenIssuer()
  const target = { certificate_issuer: issuer, max_in_flight: 2 }
  const rolloutId = await world.givenCampaign(groupId, target)
  await world.act(rolloutId, 'start')
  const { transport } = world.ctx
  world.ctx.transport = { ...transport, connectedDevices: () => [...ids] } as typeof transport
  const worker = meetingWorker(world.ctx)
  const work = async () => {
    for (let n = 0; n < 5; n++) await worker.step(new AbortController().signal)
  }
  const told: string[][] = []
  for (let round = 0; round < 3; round++) {
    await work()
    const states = await world.statesOf(rolloutId)
    const now = ids.filter((id) => states[id] === 'accepted')
    told.push(now)
    const busy = devices.filter(({ deviceId }) => now.includes(deviceId))
    // No room, nobody more.
    await work()
    expect(Object.keys(await world.statesOf(rolloutId))).toHaveLength(told.flat().length)
    for (const device of busy) await world.use(await world.renewOne(device))
    // Issued, then used.
    await followCertificates(world.ctx, ids)
    await followCertificates(world.ctx, ids)
    world.ctx.clock.advance({ seconds: 2 })
  }
  expect(told.map((some) => some.length)).toEqual([2, 2, 1])
  expect(told.flat().toSorted()).toEqual(ids.toSorted())
  expect(new Set(Object.values(await world.statesOf(rolloutId)))).toEqual(new Set(['succeeded']))
})

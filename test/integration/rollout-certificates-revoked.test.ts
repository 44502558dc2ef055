import { afterAll, beforeAll, expect, test } from 'vitest'

import { changeRevocation } from '../../server/certificates/revocation.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { followCertificates } from '../../server/deployments/certificates.ts'
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

test.each([
  ['revoked', { action: 'revoke', reason: 'keyCompromise' }],
  ['put on hold', { action: 'hold' }],
] as const)(
  'that the old certificate was %s is no proof that the new one is used; a contact after it is',
  async (_, action) => {
    const { groupId, devices, ids } = await world.givenFleet(1)
    const [device] = devices
    if (!device) throw new Error('no device')
    const { clock } = world.ctx
    clock.advance({ seconds: 1 })
    const rolloutId = await world.givenCampaign(groupId, { certificate_before: clock.now() })
    await world.act(rolloutId, 'start')
    await world.hint(ids)
    await world.renewOne(device)
    const { certificateId, deviceId } = device
    await changeRevocation(world.ctx, { ...action, certificateId, by: { id: 'key:test' } })
    const stateAfter = async () => {
      await followCertificates(world.ctx, ids)
      return (await world.statesOf(rolloutId))[deviceId]
    }
    expect(await stateAfter()).toBe('testing')
    const seen = async () => {
      const row = { connected: false, epoch: 1, last_seen_at: clock.now() }
      await handle.db
        .insertInto('device_presence')
        .values({ device_id: deviceId, node_id: rolloutId, ...row })
        .onConflict((oc) => oc.column('device_id').doUpdateSet({ last_seen_at: clock.now() }))
        .execute()
    }
    // The connection that the old one had ends now.
    await seen()
    expect(await stateAfter()).toBe('testing')
    clock.advance({ seconds: 61 })
    await seen()
    expect(await stateAfter()).toBe('succeeded')
  },
)

import type { KyselyPlugin } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { ConnectionIndex } from '../../server/connections.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createIdentityDirectory } from '../../server/devices/directory.ts'
import { identify } from '../../server/mqtt/identity.ts'
import type { Session } from '../../server/mqtt/session.ts'
import { createTestDatabase } from '../support/database.ts'
import { createIdentityWorld, type IdentityWorld } from '../support/identity-world.ts'

let handle: DatabaseHandle
let world: IdentityWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

/** A database connection that can be made to fail. */
class Breakable implements KyselyPlugin {
  isBroken = false
  transformQuery: KyselyPlugin['transformQuery'] = ({ node }) => {
    if (this.isBroken) throw new Error('the database does not answer')
    return node
  }
  transformResult: KyselyPlugin['transformResult'] = async ({ result }) => result
}

test('who connects while the database cannot be read is told that it is the server, and may come again', async () => {
  const { ctx } = world
  const device = await world.givenDevice()
  const plugin = new Breakable()
  await using directory = await createIdentityDirectory(
    { ...ctx, db: ctx.db.withPlugin(plugin) },
    { sweepMs: 3_600_000 },
  )
  const entry = async () => {
    const session = { fingerprint: device.fingerprint, socket: { destroyed: false } } as Session
    const connections = { add: () => {} } as unknown as ConnectionIndex
    return await identify({ identities: directory, connections }, session, device.deviceId)
  }
  expect(await entry()).toMatchObject({ deviceId: device.deviceId })
  plugin.isBroken = true
  // Nothing is known to be missed: memory is right.
  expect(await entry()).toMatchObject({ deviceId: device.deviceId })
  await directory.sweep()
  expect(directory.mayHaveMissed?.()).toBe(true)
  await expect(entry()).rejects.toMatchObject({ reason: 'status-unknown', returnCode: 3 })
  plugin.isBroken = false
  await directory.sweep()
  expect(directory.mayHaveMissed?.()).toBe(false)
  expect(await entry()).toMatchObject({ deviceId: device.deviceId })
})

test('notifications that arrive are worth nothing while the database cannot be read', async () => {
  const { ctx } = world
  const device = await world.givenDevice()
  const plugin = new Breakable()
  await using directory = await createIdentityDirectory(
    { ...ctx, db: ctx.db.withPlugin(plugin) },
    { sweepMs: 3_600_000 },
  )
  expect(await directory.check(device.fingerprint)).toMatchObject({ allowed: true })
  plugin.isBroken = true
  await directory.sweep()
  // A hiccup is bridged; memory that nobody can renew is not believed for longer.
  expect(directory.peek(device.fingerprint)).toMatchObject({ allowed: true })
  ctx.clock.advance({ seconds: 31 })
  expect(ctx.bus.connected()).toBe(true)
  expect(directory.ready()).toBe(false)
  expect(directory.peek(device.fingerprint)).toEqual({ allowed: false, refusal: 'status-unknown' })
  expect(directory.deviceAllowed(device.deviceId)).toBe(false)
  plugin.isBroken = false
  await directory.sweep()
  expect(directory.peek(device.fingerprint)).toMatchObject({ allowed: true })
})

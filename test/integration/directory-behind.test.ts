import type { KyselyPlugin } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createIdentityDirectory } from '../../server/devices/directory.ts'
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

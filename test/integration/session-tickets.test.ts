import { randomBytes } from 'node:crypto'

import { beforeEach, expect, test } from 'vitest'

import { rotateKek } from '../../server/authorities/kek-rotation.ts'
import { createLocalBus } from '../../server/bus.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { SessionTickets } from '../../server/tickets/tickets.ts'
import { createTestDatabase } from '../support/database.ts'
import { by, createIdentityWorld, type IdentityWorld } from '../support/identity-world.ts'

/* One secret for session tickets in all processes (broker.md §2). */

const halfDay = 12 * 3_600
let handle: DatabaseHandle
let world: IdentityWorld
/** Two processes that hear nothing of each other. */
let here: SessionTickets
let there: SessionTickets

beforeEach(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  here = new SessionTickets({ ...world.ctx, bus: createLocalBus() })
  there = new SessionTickets({ ...world.ctx, bus: createLocalBus() })
  return async () => {
    await world[Symbol.asyncDispose]()
    await handle[Symbol.asyncDispose]()
  }
})

const row = async () =>
  await handle.db.selectFrom('tls_ticket_key').selectAll().executeTakeFirstOrThrow()

test('processes that start together agree on one, which is wrapped in the database', async () => {
  expect(here.current()).not.toEqual(there.current())
  await Promise.all([here.look(), there.look()])
  await Promise.all([here.look(), there.look()])
  expect(here.current()).toEqual(there.current())
  expect((await row()).version).toBe(1)
  expect((await row()).wrapped_secret.includes(here.current())).toBe(false)
})

test('after twelve hours whoever looks first replaces it, and the others follow at their next look', async () => {
  await here.look()
  await there.look()
  const before = here.current()
  const heard: string[] = []
  there.onChange(() => heard.push('there'))
  world.ctx.clock.advance({ seconds: halfDay - 1 })
  await here.look()
  expect(here.current()).toEqual(before)
  world.ctx.clock.advance({ seconds: 1 })
  await Promise.all([here.look(), here.look()])
  expect(here.current()).not.toEqual(before)
  expect(there.current()).toEqual(before)
  await there.look()
  await there.look()
  expect(there.current()).toEqual(here.current())
  expect(heard).toEqual(['there'])
  expect((await row()).version).toBe(2)
})

test('a secret that was made by a clock hours ahead does not live until then', async () => {
  world.ctx.clock.advance({ seconds: halfDay })
  await here.look()
  const before = here.current()
  world.ctx.clock.advance({ seconds: -halfDay })
  await here.look()
  expect(here.current()).not.toEqual(before)
})

test('who hears the notification follows at once', async () => {
  const bus = createLocalBus()
  const [a, b] = [
    new SessionTickets({ ...world.ctx, bus }),
    new SessionTickets({ ...world.ctx, bus }),
  ]
  await a.look()
  await expect.poll(() => b.current().equals(a.current()), { timeout: 60_000 }).toBe(true)
})

test('with another key-encryption key it opens for nobody, replaces nothing, and fails nothing', async () => {
  await here.look()
  const stranger = new SessionTickets({ ...world.ctx, kek: randomBytes(32), bus: createLocalBus() })
  const own = stranger.current()
  const heard: string[] = []
  stranger.onChange(() => heard.push('heard'))
  await stranger.look()
  await stranger.look()
  expect(stranger.current()).not.toEqual(here.current())
  expect(stranger.current()).not.toEqual(own)
  expect(heard).toHaveLength(1)
  const stored = await row()
  world.ctx.clock.advance({ seconds: halfDay })
  await expect(stranger.look()).rejects.toThrow('The key-encryption key is being changed')
  expect(await row()).toEqual(stored)
})

test('a rotation of the key-encryption key makes a new secret', async () => {
  await here.look()
  const before = here.current()
  await rotateKek(world.ctx, by)
  await here.look()
  await there.look()
  expect(here.current()).not.toEqual(before)
  expect(there.current()).toEqual(here.current())
  expect((await row()).version).toBe(2)
})

import { connect, createServer, type Server, type Socket } from 'node:net'

import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { type Bus, createPostgresBus } from '../../server/bus.ts'
import { changeRevocation, type RevocationAction } from '../../server/certificates/revocation.ts'
import { ConnectionIndex } from '../../server/connections.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createIdentityDirectory, type RunningDirectory } from '../../server/devices/directory.ts'
import { actOnDevice } from '../../server/incidents/service.ts'
import { createLogger } from '../../server/log.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  createIdentityWorld,
  type Enrolled,
  type IdentityWorld,
  type WorldContext,
} from '../support/identity-world.ts'

/* Two processes on one PostgreSQL, each with the bus, the directory and the connections of its own. */

const log = createLogger('silent')
const by = { id: 'key:test' }
const stack = new AsyncDisposableStack()
let handle: DatabaseHandle
let world: IdentityWorld
let server: Server

beforeAll(async () => {
  handle = stack.use(await createTestDatabase())
  world = stack.use(await createIdentityWorld(handle))
  server = createServer((socket) => socket.on('error', () => {}))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  stack.defer(() => void server.close())
})
afterAll(() => stack.disposeAsync())

interface Process extends AsyncDisposable {
  ctx: WorldContext
  bus: Bus
  identities: RunningDirectory
}

/** @param sweepMs an hour: what this process hears, it hears by notification */
async function process({ sweepMs = 3_600_000 } = {}): Promise<Process> {
  if (handle.kind !== 'postgres') throw new Error('needs PostgreSQL')
  const own = new AsyncDisposableStack()
  const bus = own.use(await createPostgresBus(handle.url, log))
  const base = { ...world.ctx, bus, connections: new ConnectionIndex() }
  const identities = own.use(await createIdentityDirectory(base, { sweepMs }))
  const ctx = { ...base, identities }
  return { ctx, bus, identities, [Symbol.asyncDispose]: () => own.disposeAsync() }
}

async function connected({ ctx }: Process, device: Enrolled): Promise<Socket> {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const socket = connect(address.port, '127.0.0.1')
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
  socket.on('error', () => {})
  stack.defer(() => void socket.destroy())
  ctx.connections.add(socket, device)
  expect((await ctx.identities.check(device.fingerprint)).allowed).toBe(true)
  return socket
}

const change = async ({ ctx }: Process, device: Enrolled, action: RevocationAction) =>
  await changeRevocation(ctx, { ...action, certificateId: device.certificateId, by })

const refusalAt = ({ identities }: Process, device: Enrolled) => {
  const verdict = identities.peek(device.fingerprint)
  return verdict?.allowed === false ? verdict.refusal : verdict && 'allowed'
}

async function cutListeners(): Promise<void> {
  const { rows } = await sql`select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'fleetseal-bus' and datname = current_database()`.execute(world.ctx.db)
  expect(rows.length).toBeGreaterThan(0)
}

test('every process hears at once of a hold, a release and a revocation, and nobody else is touched', async () => {
  await using here = await process()
  await using there = await process()
  const device = await world.givenDevice()
  const bystander = await world.givenDevice()
  const socket = await connected(there, device)
  const other = await connected(there, bystander)
  expect((await here.identities.check(device.fingerprint)).allowed).toBe(true)
  await change(here, device, { action: 'hold' })
  await expect.poll(() => socket.destroyed).toBe(true)
  expect(refusalAt(here, device)).toBe('certificate-held')
  expect(refusalAt(there, device)).toBe('certificate-held')
  await change(there, device, { action: 'release' })
  await expect.poll(() => refusalAt(here, device)).toBe('allowed')
  await change(here, device, { action: 'revoke', reason: 'keyCompromise' })
  await expect.poll(() => refusalAt(there, device)).toBe('certificate-revoked')
  expect(other.destroyed).toBe(false)
})

test('what was missed while the listener was cut is made good when it is back', async () => {
  await using there = await process()
  const device = await world.givenDevice()
  const socket = await connected(there, device)
  // The world's own bus reaches nobody else: for `there`, this notification is lost.
  await actOnDevice(world.ctx, {
    deviceId: device.deviceId,
    action: 'disable',
    reason: 'lost',
    by,
  })
  expect(refusalAt(there, device)).toBe('allowed')
  await cutListeners()
  await expect.poll(() => socket.destroyed, { timeout: 10_000 }).toBe(true)
  expect(refusalAt(there, device)).toBe('device-disabled')
  // And what comes after is heard again.
  await using here = await process()
  const second = await world.givenDevice()
  const next = await connected(there, second)
  await change(here, second, { action: 'hold' })
  await expect.poll(() => next.destroyed).toBe(true)
})

test('a notification that is never sent is made good by the sweep', async () => {
  await using there = await process({ sweepMs: 50 })
  const device = await world.givenDevice()
  const socket = await connected(there, device)
  // The world's own bus reaches nobody else.
  await changeRevocation(world.ctx, {
    action: 'revoke',
    reason: 'superseded',
    certificateId: device.certificateId,
    by,
  })
  await expect.poll(() => socket.destroyed).toBe(true)
  expect(refusalAt(there, device)).toBe('certificate-revoked')
})

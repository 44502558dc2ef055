import { randomUUID } from 'node:crypto'
import { connect, createServer, type Server, type Socket } from 'node:net'

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'

import { findRevoked, parseCrl, verifyCrl } from '../../pki/crl/parse.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { Bus } from '../../server/bus.ts'
import { latestCrl, publishCrl, publishDueCrls } from '../../server/certificates/crl.ts'
import { revokeCertificate } from '../../server/certificates/revocation.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { setMembership } from '../../server/groups/service.ts'
import { actOnDevice, actOnGroup } from '../../server/incidents/service.ts'
import {
  by,
  type Enrolled,
  type IdentityWorld,
  type WorldContext,
} from '../support/identity-world.ts'
import { createWorlds, kinds } from '../support/two-worlds.ts'

const who = { reason: 'stolen', by: { id: 'key:test' } }

let handle: DatabaseHandle
let world: IdentityWorld
let ctx: WorldContext
const worldOn = createWorlds()

function use(kind: string): void {
  ;({ handle, world } = worldOn(kind))
  ctx = world.ctx
}

const sockets: { server: Server; open: Socket[] } = { server: createServer(), open: [] }
beforeAll(async () => {
  await new Promise<void>((resolve) => sockets.server.listen(0, '127.0.0.1', resolve))
})
afterEach(() => {
  for (const socket of sockets.open.splice(0)) socket.destroy()
})
afterAll(() => void sockets.server.close())

/** A live connection of a device, as the listeners file it. */
async function connected(device: Enrolled, at: WorldContext = ctx): Promise<Socket> {
  const address = sockets.server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const socket = connect(address.port, '127.0.0.1')
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
  socket.on('error', () => {})
  sockets.open.push(socket)
  at.connections.add(socket, { fingerprint: device.fingerprint, deviceId: device.deviceId })
  return socket
}

const refusal = async (device: Enrolled, at: WorldContext = ctx) => {
  const verdict = await at.identities.check(device.fingerprint)
  expect(at.identities.peek(device.fingerprint)).toEqual(verdict)
  return verdict.allowed ? 'allowed' : verdict.refusal
}

const crlOf = async (authorityId = ctx.authorities.devices.id) => {
  const row = await latestCrl(ctx.db, authorityId)
  if (!row) throw new Error('no CRL')
  const crl = parseCrl(row.der)
  expect(verifyCrl(crl, ctx.authorities.devices.certificate)).toBe(true)
  return crl
}

const isListed = async (device: Enrolled) =>
  findRevoked(await crlOf(), parseCertificate(device.der).serial)?.reason

describe.each(kinds)('cutting off a device on %s', (kind) => {
  beforeAll(() => use(kind))

  test('a disabled device loses its connections at once and comes back without enrolling', async () => {
    const device = await world.givenDevice()
    const bystander = await world.givenDevice({ profile: await world.givenProfile() })
    const socket = await connected(device)
    const other = await connected(bystander)
    expect(await refusal(device)).toBe('allowed')
    await actOnDevice(ctx, { deviceId: device.deviceId, action: 'disable', ...who })
    expect([socket.destroyed, other.destroyed]).toEqual([true, false])
    expect(await refusal(device)).toBe('device-disabled')
    expect(ctx.identities.deviceAllowed(device.deviceId)).toBe(false)
    await publishCrl(ctx, ctx.authorities.devices.id)
    expect(await isListed(device)).toBeUndefined()
    await actOnDevice(ctx, { deviceId: device.deviceId, action: 'enable', ...who })
    expect(await refusal(device)).toBe('allowed')
    expect(await refusal(bystander)).toBe('allowed')
  })

  test('A1, V1, V2 a revoked device is on the CRL when the call answers, and stays there', async () => {
    const device = await world.givenDevice()
    const socket = await connected(device)
    const before = (await latestCrl(ctx.db, ctx.authorities.devices.id))?.number ?? 0
    await actOnDevice(ctx, { deviceId: device.deviceId, action: 'revoke', ...who })
    expect(socket.destroyed).toBe(true)
    expect(await refusal(device)).toBe('certificate-revoked')
    expect(await isListed(device)).toBe(9)
    const first = await crlOf()
    expect(Number(first.number)).toBeGreaterThan(before)
    const next = await world.givenDevice()
    await actOnDevice(ctx, { deviceId: next.deviceId, action: 'retire', ...who })
    expect(await isListed(device)).toBe(9)
    expect(await isListed(next)).toBe(5)
    expect((await crlOf()).number).toBeGreaterThan(first.number)
    await expect(
      actOnDevice(ctx, { deviceId: device.deviceId, action: 'enable', ...who }),
    ).rejects.toMatchObject({ code: 'illegal-transition' })
  })

  test('a revocation that broke off before the CRL is made good by calling again, or by the worker', async () => {
    const device = await world.givenDevice()
    const broken: WorldContext = { ...ctx, bus: failingBus() }
    const command = { deviceId: device.deviceId, action: 'revoke' as const, ...who }
    await expect(actOnDevice(broken, command)).rejects.toThrow('bus')
    expect(await isListed(device)).toBeUndefined()
    await actOnDevice(ctx, command)
    expect(await isListed(device)).toBe(9)

    const second = await world.givenDevice()
    await expect(actOnDevice(broken, { ...command, deviceId: second.deviceId })).rejects.toThrow(
      'bus',
    )
    await publishDueCrls(ctx)
    expect(await isListed(second)).toBe(9)
  })
})

describe.each(kinds)('revocation lists on %s', (kind) => {
  beforeAll(() => use(kind))

  test('V1 numbers rise by one for each publication, whoever publishes at the same time', async () => {
    const other = await world.another()
    const before = Number((await crlOf()).number)
    const devices = []
    for (let n = 0; n < 4; n++) devices.push(await world.givenDevice())
    await Promise.all(
      devices.map(({ certificateId }, n) =>
        revokeCertificate(n % 2 === 0 ? ctx : other, {
          certificateId,
          reason: 'keyCompromise',
          by: who.by,
        }),
      ),
    )
    for (const device of devices) expect(await isListed(device)).toBe(1)
    const after = Number((await crlOf()).number)
    expect(after).toBeGreaterThan(before)
    expect(after).toBeLessThanOrEqual(before + 4)
  })

  test('V2 a revoked certificate leaves the CRL only after it expired, and not before one more was published', async () => {
    const device = await world.givenDevice()
    await actOnDevice(ctx, { deviceId: device.deviceId, action: 'revoke', ...who })
    const { notAfter } = parseCertificate(device.der)
    const elapsed = (notAfter.getTime() - ctx.clock.now().getTime()) / 1000
    const world2 = {
      ...ctx,
      clock: { now: () => new Date(ctx.clock.now().getTime() + moved * 1000) },
    }
    let moved = elapsed + 10 * 86_400
    await publishDueCrls(world2)
    expect(await isListed(device)).toBe(9)
    moved += 5 * 86_400
    await publishDueCrls(world2)
    expect(await isListed(device)).toBeUndefined()
  })

  test('an empty CRL of the root and the servers exists from the start (V7, V11)', async () => {
    await publishDueCrls(ctx)
    for (const { id, certificate } of [ctx.authorities.root, ctx.authorities.servers]) {
      const row = await latestCrl(ctx.db, id)
      const crl = parseCrl(row?.der ?? Buffer.alloc(0))
      expect(verifyCrl(crl, certificate)).toBe(true)
      expect(crl.entryCount).toBe(0)
      expect(crl.nextUpdate.getTime()).toBeGreaterThan(ctx.clock.now().getTime() + 6 * 86_400_000)
    }
  })

  test('one revoked certificate does not end the device record', async () => {
    const device = await world.givenDevice()
    const { certificateId } = device
    const command = { certificateId, reason: 'keyCompromise' as const, by: who.by }
    expect(await revokeCertificate(ctx, command)).toMatchObject({ state: 'revoked' })
    expect(await revokeCertificate(ctx, { ...command, reason: 'superseded' })).toMatchObject({
      revocation_reason: 'keyCompromise',
    })
    expect(await refusal(device)).toBe('certificate-revoked')
    expect(await isListed(device)).toBe(1)
  })
})

describe.each(kinds)('cutting off a group on %s', (kind) => {
  beforeAll(() => use(kind))

  test('an incident covers a group, and devices that join it later', async () => {
    const profile = await world.givenProfile()
    const members = [await world.givenDevice({ profile }), await world.givenDevice({ profile })]
    const outside = await world.givenDevice()
    const open = await Promise.all([...members, outside].map((device) => connected(device)))
    const { groupId } = profile
    const incident = await actOnGroup(ctx, { groupId, action: 'disable', ...who })
    expect(open.map((socket) => socket.destroyed)).toEqual([true, true, false])
    for (const member of members) expect(await refusal(member)).toBe('group-disabled')
    // Again: the same incident, not a second one.
    expect((await actOnGroup(ctx, { groupId, action: 'disable', ...who }))?.id).toBe(incident?.id)

    await setMembership(ctx, { groupId, deviceId: outside.deviceId, member: true, ...by })
    expect(open[2]?.destroyed).toBe(true)
    expect(await refusal(outside)).toBe('group-disabled')

    await actOnGroup(ctx, { groupId, action: 'enable', ...who })
    for (const device of [...members, outside]) expect(await refusal(device)).toBe('allowed')
  })

  test('another process hears of it by its sweep when the notification is lost', async () => {
    const other = await world.another()
    const device = await world.givenDevice()
    expect(await refusal(device, other)).toBe('allowed')
    const socket = await connected(device, other)
    await actOnDevice(ctx, { deviceId: device.deviceId, action: 'disable', ...who })
    expect(socket.destroyed).toBe(false)
    await other.identities.sweep()
    expect(socket.destroyed).toBe(true)
    expect(other.identities.peek(device.fingerprint)).toMatchObject({ refusal: 'device-disabled' })
  })
})

describe.each(kinds)('the directory on %s', (kind) => {
  beforeAll(() => use(kind))

  test('A24 with the notifications gone and nothing read for 30 s, nobody is let in', async () => {
    let isConnected = true
    const other = await world.another({ ...ctx.bus, connected: () => isConnected })
    const device = await world.givenDevice()
    expect(await refusal(device, other)).toBe('allowed')
    ctx.clock.advance({ seconds: 31 })
    expect(other.identities.peek(device.fingerprint)).toMatchObject({ allowed: true })
    isConnected = false
    expect(other.identities.peek(device.fingerprint)).toEqual({
      allowed: false,
      refusal: 'status-unknown',
    })
    expect(other.identities.deviceAllowed(device.deviceId)).toBe(false)
    // The database answers: then memory may be believed again.
    expect(await refusal(device, other)).toBe('allowed')
  })

  test('nobody is known who was not issued to: a foreign fingerprint, a server certificate', async () => {
    for (const fingerprint of ['0'.repeat(64), randomUUID()]) {
      expect(await ctx.identities.check(fingerprint)).toEqual({
        allowed: false,
        refusal: 'unknown-certificate',
      })
    }
    const server = await ctx.db
      .selectFrom('certificate')
      .select('fingerprint')
      .where('kind', '=', 'server')
      .executeTakeFirstOrThrow()
    expect(await ctx.identities.check(server.fingerprint ?? '')).toMatchObject({
      refusal: 'unknown-certificate',
    })
  })
})

describe.each(kinds)('the directory, later on %s', (kind) => {
  beforeAll(() => use(kind))

  test('A4 an expired certificate is refused from memory', async () => {
    const device = await world.givenDevice()
    const { notAfter } = parseCertificate(device.der)
    const later = { now: () => new Date(notAfter.getTime() + 1_000) }
    expect(await refusal(device)).toBe('allowed')
    const known = ctx.identities.peek(device.fingerprint)
    expect(known?.allowed).toBe(true)
    const seconds = (later.now().getTime() - ctx.clock.now().getTime()) / 1000
    ctx.clock.advance({ seconds })
    try {
      expect(ctx.identities.peek(device.fingerprint)).toMatchObject({
        refusal: 'certificate-expired',
      })
    } finally {
      ctx.clock.advance({ seconds: -seconds })
    }
  })

  test('changes that commit late, under a lower number, are not stepped over', async () => {
    const device = await world.givenDevice()
    expect(await refusal(device)).toBe('allowed')
    // Takes its number, and lets a later one be read first.
    const { promise: mayCommit, resolve: commit } = Promise.withResolvers<void>()
    if (handle.kind === 'pglite') return commit()
    const { promise: began, resolve: begin } = Promise.withResolvers<void>()
    const late = inTransaction(ctx.db, async (tx) => {
      await tx
        .insertInto('identity_change')
        .values({ device_id: device.deviceId, group_id: null, at: ctx.clock.now() })
        .execute()
      await tx
        .updateTable('device')
        .set({ state: 'disabled' })
        .where('id', '=', device.deviceId)
        .execute()
      begin()
      await mayCommit
    })
    await began
    const other = await world.givenDevice()
    await actOnDevice(ctx, { deviceId: other.deviceId, action: 'disable', ...who })
    expect(await refusal(other)).toBe('device-disabled')
    commit()
    await late
    await ctx.identities.sweep()
    expect(ctx.identities.peek(device.fingerprint)).toMatchObject({ refusal: 'device-disabled' })
  })
})

function failingBus(): Bus {
  return { ...ctx.bus, publish: () => Promise.reject(new Error('bus is down')) }
}

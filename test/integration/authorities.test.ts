import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { beforeEach, describe, expect, test } from 'vitest'

import { FileDisk } from '../../device-sim/disk.ts'
import { findIdentity, saveIdentity, saveServerRoot } from '../../device-sim/identity.ts'
import { parseCrl, verifyCrl } from '../../pki/crl/parse.ts'
import { parseCsr } from '../../pki/csr/parse.ts'
import { validatePath } from '../../pki/path-validate.ts'
import { fromPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { subscribeAuthorities } from '../../server/authorities/changes.ts'
import { actOnAuthority, createAuthority } from '../../server/authorities/service.ts'
import type { AuthorityPurpose } from '../../server/authorities/state.ts'
import { createLocalBus } from '../../server/bus.ts'
import { latestCrl, publishDueCrls } from '../../server/certificates/crl.ts'
import { completeIntent, newIntent, saveIntent } from '../../server/certificates/intent.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { newId } from '../../server/ids.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  by,
  createIdentityWorld,
  type IdentityWorld,
  newRequest,
  unique,
  type WorldContext,
} from '../support/identity-world.ts'

let world: IdentityWorld
let ctx: WorldContext

beforeEach(async () => {
  const own = await createTestDatabase()
  world = await createIdentityWorld(own)
  ctx = world.ctx
  return async () => {
    await world[Symbol.asyncDispose]()
    await own[Symbol.asyncDispose]()
  }
})

const make = async (purpose: AuthorityPurpose, id = newId(ctx.clock.now())) =>
  await createAuthority(ctx, { id, purpose, ...by })
const act = async (id: string, action: 'activate' | 'retire') =>
  await actOnAuthority(ctx, { id, action, ...by })
const keyId = (der: Buffer) => parseCertificate(der).authorityKeyId
const chains = (leaf: Buffer, others: readonly Buffer[], anchor: Buffer) =>
  validatePath([leaf, ...others], [anchor], { at: ctx.clock.now(), purpose: 'clientAuth' }).valid
const enrolled = async () => {
  const { id } = await world.givenProfile()
  return await world.enrollWith(await world.givenToken(id), newRequest(unique('SN')).csr)
}

describe('R8 rollover of the issuer of devices', () => {
  test('is prepared, takes over, and both are accepted until the old one is retired', async () => {
    const old = ctx.authorities.devices
    const before = await enrolled()
    const next = await make('devices')
    expect(next).toMatchObject({ state: 'prepared', issuer_id: ctx.authorities.root.id })
    expect(ctx.authorities.devices.id).toBe(old.id)
    expect(ctx.authorities.clientCa).toHaveLength(3)
    expect(keyId(await enrolled())).toEqual(old.certificate.subjectKeyId)

    expect(await act(next.id, 'activate')).toMatchObject({ state: 'active' })
    expect(ctx.authorities.devices.id).toBe(next.id)
    const after = await enrolled()
    expect(keyId(after)).toEqual(parseCertificate(next.certificate).subjectKeyId)
    expect(ctx.authorities.distributed).toEqual(expect.arrayContaining([old.der, next.certificate]))
    const { root } = ctx.authorities
    expect(chains(before, [old.der], root.der)).toBe(true)
    expect(chains(after, [next.certificate], root.der)).toBe(true)

    ctx.clock.advance({ seconds: 61 })
    await expect(act(old.id, 'retire')).rejects.toMatchObject({
      code: 'conflict',
      facts: { certificates: 2 },
    })
    ctx.clock.advance({ seconds: 91 * 86_400 })
    expect(await act(old.id, 'retire')).toMatchObject({ state: 'retired' })
    expect(ctx.authorities.clientCa).toHaveLength(2)
    expect(ctx.authorities.distributed).not.toContainEqual(old.der)
  })

  test('an intent that the old one began is finished by it, and its CRL goes on', async () => {
    const { devices: old, urls } = ctx.authorities
    const { csr } = newRequest(unique('SN'))
    const device = await world.givenDevice()
    const intent = newIntent({
      id: newId(ctx.clock.now()),
      issuer: old,
      urls,
      profile: 'device',
      deviceId: device.deviceId,
      subject: parseCertificate(device.der).subject,
      spki: parseCsr(csr).spki,
      san: parseCertificate(device.der).subjectAltName ?? [],
      days: 30,
      now: ctx.clock.now(),
    })
    await inTransaction(ctx.db, async (tx) => await saveIntent(tx, intent))
    await act((await make('devices')).id, 'activate')
    const done = await completeIntent(ctx, intent, { onIssued: async () => {} })
    expect(done.state).toBe('issued')
    expect(chains(done.der ?? Buffer.alloc(0), [old.der], ctx.authorities.root.der)).toBe(true)
    await publishDueCrls(ctx)
    for (const { id, certificate } of [old, ctx.authorities.devices]) {
      const crl = await latestCrl(ctx.db, id)
      expect(verifyCrl(parseCrl(crl?.der ?? Buffer.alloc(0)), certificate)).toBe(true)
    }
  })
})

describe('authorities', () => {
  test('go back to the one before, but not from a retired one', async () => {
    const old = ctx.authorities.devices
    const next = await make('devices')
    await act(next.id, 'activate')
    await expect(act(next.id, 'retire')).rejects.toMatchObject({ code: 'illegal-transition' })
    expect(await act(next.id, 'activate')).toMatchObject({ state: 'active' })
    await expect(act(old.id, 'retire')).rejects.toMatchObject({ code: 'not-ready' })
    await act(old.id, 'activate')
    expect(ctx.authorities.devices.id).toBe(old.id)
    ctx.clock.advance({ seconds: 61 })
    await act(next.id, 'retire')
    await expect(act(next.id, 'activate')).rejects.toMatchObject({ code: 'illegal-transition' })
  })

  test('the same id is one authority, and their number is bounded', async () => {
    const id = newId(ctx.clock.now())
    const [one, two] = await Promise.all([make('devices', id), make('devices', id)])
    expect(one.certificate).toEqual(two.certificate)
    for (let count = 2; count < 8; count++) await make('devices')
    await expect(make('devices')).rejects.toMatchObject({ code: 'quota-exhausted' })
  })

  test('another process follows, told or not', async () => {
    const bus = createLocalBus()
    const told = await world.another(bus)
    const untold = await world.another()
    subscribeAuthorities(told)
    const changes: string[][] = []
    told.authorities.onRenewal(() => changes.push(told.authorities.clientCa))
    const next = await createAuthority(
      { ...ctx, bus },
      { id: newId(ctx.clock.now()), purpose: 'devices', ...by },
    )
    await told.authorities.reload()
    expect(changes.map((list) => list.length)).toEqual([3])
    await actOnAuthority({ ...ctx, bus }, { id: next.id, action: 'activate', ...by })
    await told.authorities.reload()
    expect(told.authorities.devices.id).toBe(next.id)
    expect(untold.authorities.devices.id).not.toBe(next.id)
    await untold.authorities.reload()
    expect(untold.authorities.devices.id).toBe(next.id)
  })
})

test('rollover of the issuer of servers: the server shows a certificate of the new one', async () => {
  const shown = () => fromPem(ctx.authorities.tls.cert, 'CERTIFICATE')
  const before = ctx.authorities.servers
  const next = await make('servers')
  expect(shown()[1]).toEqual(before.der)
  await act(next.id, 'activate')
  const [leaf = Buffer.alloc(0), issuer] = shown()
  expect(issuer).toEqual(next.certificate)
  const options = { at: ctx.clock.now(), purpose: 'serverAuth' } as const
  expect(validatePath(shown(), [ctx.authorities.root.der], options).valid).toBe(true)
  expect(keyId(leaf)).toEqual(parseCertificate(next.certificate).subjectKeyId)
})

test('an authority of a new purpose is active at once', async () => {
  expect(ctx.authorities.claims).toBeUndefined()
  const claims = await make('claims')
  expect(claims.state).toBe('active')
  expect(ctx.authorities.claims?.id).toBe(claims.id)
  expect((await make('claims')).state).toBe('prepared')
})

test('R8, E23 rollover of the root: who knows only one of them follows to the other', async () => {
  const { root: old, devices } = ctx.authorities
  const oldIssuers = [devices, ctx.authorities.servers]
  await expect(make('root')).rejects.toMatchObject({ code: 'invalid-request' })
  ctx.clock.advance({ seconds: 60 })
  const next = await make('root')
  const { distributed } = ctx.authorities
  const [newWithOld, oldWithNew] = distributed
  if (!newWithOld || !oldWithNew) throw new Error('no bridges')
  expect(distributed.slice(2)).toEqual(expect.arrayContaining([old.der, next.certificate]))
  const device = await enrolled()
  expect(chains(device, [devices.der, oldWithNew], next.certificate)).toBe(true)

  await act(next.id, 'activate')
  const issuer = await make('devices')
  await act(issuer.id, 'activate')
  const later = await enrolled()
  expect(chains(later, [issuer.certificate], next.certificate)).toBe(true)
  expect(chains(later, [issuer.certificate, newWithOld], old.der)).toBe(true)
  for (const servers of ['old', 'new'] as const) {
    if (servers === 'new') await act((await make('servers')).id, 'activate')
    const sent = fromPem(ctx.authorities.tls.cert, 'CERTIFICATE')
    const options = { at: ctx.clock.now(), purpose: 'serverAuth' } as const
    const [own, other] =
      servers === 'old' ? [old.der, next.certificate] : [next.certificate, old.der]
    expect(validatePath(sent, [other], options).valid).toBe(true)
    expect(validatePath(sent.slice(0, 2), [own], options).valid).toBe(true)
  }
  await expect(act(old.id, 'retire')).rejects.toMatchObject({ code: 'not-ready' })
  ctx.clock.advance({ seconds: 61 })
  await expect(act(old.id, 'retire')).rejects.toMatchObject({ facts: { authorities: 2 } })
  ctx.clock.advance({ seconds: 91 * 86_400 })
  for (const { id } of oldIssuers) await act(id, 'retire')
  await act(old.id, 'retire')
  expect(ctx.authorities.clientCa).toHaveLength(2)
  expect(ctx.authorities.distributed).toContainEqual(newWithOld)
  expect(ctx.authorities.distributed).not.toContainEqual(oldWithNew)
  expect(fromPem(ctx.authorities.tls.cert, 'CERTIFICATE')).toContainEqual(newWithOld)
})

test('R8 a device that knows only the old root takes a certificate below the new one', async () => {
  const { rootPem: pinned } = ctx.authorities
  ctx.clock.advance({ seconds: 60 })
  for (const purpose of ['root', 'servers', 'devices'] as const) {
    await act((await make(purpose)).id, 'activate')
  }
  const { id } = await world.givenProfile()
  const { key, csr } = newRequest(unique('SN'))
  const issued = await world.enrollWith(await world.givenToken(id), csr)
  await using folder = await temporaryFolder()
  for (const [name, root] of Object.entries({ old: pinned, new: ctx.authorities.rootPem })) {
    const disk = await FileDisk.open(join(folder.path, name))
    await saveServerRoot(disk, root)
    const issuers = ctx.authorities.distributed.toReversed()
    await saveIdentity(disk, { key, issued, issuers, at: ctx.clock.now() })
    const chain = fromPem((await findIdentity(disk))?.certificates ?? '', 'CERTIFICATE')
    expect([name, chain.length]).toEqual([name, name === 'old' ? 3 : 2])
  }
})

async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), 'fleetseal-device-'))
  const remove = async () => await rm(path, { recursive: true, force: true })
  return { path, [Symbol.asyncDispose]: remove }
}

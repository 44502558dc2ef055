import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { FileDisk } from '../../device-sim/disk.ts'
import { renewIdentity } from '../../device-sim/enroll.ts'
import {
  findIdentity,
  loadServerRoot,
  saveIdentity,
  saveServerRoot,
} from '../../device-sim/identity.ts'
import { fromPem } from '../../pki/pem.ts'
import { actOnAuthority, createAuthority } from '../../server/authorities/service.ts'
import type { AuthorityPurpose } from '../../server/authorities/state.ts'
import { newId } from '../../server/ids.ts'
import { createTestDatabase } from '../support/database.ts'
import { listenForDevices } from '../support/est-client.ts'
import { by, createIdentityWorld } from '../support/identity-world.ts'

test('R8 a device renews through a rollover of the root, and then needs the old one no more', async () => {
  await using stack = new AsyncDisposableStack()
  const handle = stack.use(await createTestDatabase())
  const world = stack.use(await createIdentityWorld(handle))
  const { ctx } = world
  const listeners = stack.use(await listenForDevices(ctx))
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-roots-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const disk = await FileDisk.open(folder)

  const device = await world.givenDevice()
  const old = ctx.authorities.root.der
  const issuers = ctx.authorities.distributed.map((der) => Buffer.from(der))
  await saveServerRoot(disk, ctx.authorities.rootPem)
  await saveIdentity(disk, { key: device.key, issued: device.der, issuers, at: ctx.clock.now() })

  const server = { host: 'localhost', port: listeners.device.port }
  const renew = async () => {
    const identity = await findIdentity(disk)
    if (!identity) throw new Error('no identity')
    const { identity: next } = await renewIdentity(disk, { identity, server, at: ctx.clock.now() })
    expect(next.leaf.der).not.toEqual(identity.leaf.der)
    return fromPem(next.certificates, 'CERTIFICATE').length
  }
  const roots = async () => fromPem(await loadServerRoot(disk), 'CERTIFICATE')

  expect(await renew()).toBe(2)
  expect(await roots()).toEqual([old])
  ctx.clock.advance({ seconds: 60 })
  for (const purpose of ['root', 'servers', 'devices'] satisfies AuthorityPurpose[]) {
    const { id } = await createAuthority(ctx, { id: newId(ctx.clock.now()), purpose, ...by })
    await actOnAuthority(ctx, { id, action: 'activate', ...by })
  }
  const next = ctx.authorities.root.der
  expect(next).not.toEqual(old)
  expect(await renew()).toBe(2)
  expect(await roots()).toEqual([old, next])
  // The old one is gone from the device: the new one alone is enough for server and certificate.
  await saveServerRoot(disk, ctx.authorities.rootPem)
  expect(await renew()).toBe(2)
  expect(await roots()).toEqual([next])
})

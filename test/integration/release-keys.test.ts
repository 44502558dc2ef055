import type { KeyObject } from 'node:crypto'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { keyId, tufKeyOf } from '../../pki/tuf/keys.ts'
import { generatePqKey, pqTufKeyOf } from '../../pki/tuf/post-quantum.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { forgetCurrent } from '../../server/metadata/current.ts'
import { onlineKeys } from '../../server/metadata/online-keys.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'
import { makeKeys } from '../support/tuf-repository.ts'

let handle: DatabaseHandle
let world: ReleaseWorld
beforeEach(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle)
})
afterEach(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const named = (keys: readonly KeyObject[]) => ({
  keys: keys.map((key, index) => ({ name: `key-${index}`, key: tufKeyOf(key) })),
})
const put = async (body: unknown, key?: string) =>
  await world.api.call('PUT', '/metadata/release-keys', body, key === undefined ? {} : { key })
const only = <T>(list: T[], ...indexes: number[]): T[] =>
  indexes.flatMap((index) => list[index] ?? [])

test('one key is replaced: targets delegates to the new set, and the old key signs nothing', async () => {
  const [release, qa, spare] = world.keys.release
  const [fresh] = makeKeys(1)
  if (!release || !qa || !spare || !fresh) throw new Error('There are three, and one more')
  // All three signed what is published, so any two that stay have.
  const id = await world.draftRelease()
  await world.act(id, 'submit')
  await world.sign('fw-gate-2', world.keys.release)
  await world.act(id, 'publish')

  const next = [release, spare, fresh]
  const answer = await put(named(next))
  expect(answer.status).toBe(200)
  expect((answer.body['keys'] as { keyid: string }[]).map(({ keyid }) => keyid).toSorted()).toEqual(
    next.map((key) => keyId(tufKeyOf(key))).toSorted(),
  )
  // Again: the draft stays, with the signature it has.
  await world.sign('targets', only(world.keys.targets, 0))
  await put(named(next))
  expect((await world.sign('targets', only(world.keys.targets, 1))).body).toMatchObject({
    state: 'published',
    version: 3,
  })
  forgetCurrent(world.ctx.db)

  const device = await world.device()
  await world.deploy(device.id, id)
  expect((await device.poll()).targets).toHaveLength(1)
  const later = await world.draftRelease({ version: '2.4.2', build: 413 })
  await world.act(later, 'submit')
  expect(await world.sign('fw-gate-2', [qa])).toMatchObject({
    status: 422,
    body: { code: 'signature-invalid' },
  })
  await world.sign('fw-gate-2', [spare, fresh])
  expect((await world.act(later, 'publish')).status).toBe(200)
  const { items } = await world.call('GET', '/audit?action=release-keys.change')
  expect(items).toMatchObject([
    { facts: { added: [keyId(tufKeyOf(fresh))], retired: [keyId(tufKeyOf(qa))] } },
  ])
})

test('a file that its next keys did not sign is renewed first, and the refusal says how', async () => {
  const [release, qa, spare] = world.keys.release
  const [fresh] = makeKeys(1)
  if (!release || !qa || !spare || !fresh) throw new Error('There are three, and one more')
  await world.publishRelease()
  // Signed by release and qa; qa goes.
  await put(named([release, spare, fresh]))
  const refused = await world.sign('targets', only(world.keys.targets, 0, 1))
  expect(refused).toMatchObject({ status: 409 })
  expect(refused.text).toContain('fleetseal sign draft fw-gate-2 --renew')
  await world.call('POST', '/metadata/fw-gate-2/draft', {})
  const renewed = await world.sign('fw-gate-2', [release, spare])
  expect(renewed.body).toMatchObject({ state: 'published', version: 2 })
  // The signatures of targets are there: one of them sent again publishes.
  const again = await world.sign('targets', only(world.keys.targets, 0))
  expect(again.body).toMatchObject({ state: 'published' })
})

test('two keys of three are lost: targets and the file under new keys go out together, or not at all', async () => {
  const [release] = world.keys.release
  const fresh = makeKeys(2)
  if (!release) throw new Error('There are three')
  const id = await world.publishRelease()
  const device = await world.device()
  await world.deploy(device.id, id)
  await device.poll()
  await put(named([release, ...fresh]))
  // Keys that targets does not give the role yet, with enough signatures, sign nothing.
  await world.call('POST', '/metadata/fw-gate-2/draft', {})
  expect(await world.sign('fw-gate-2', fresh)).toMatchObject({ status: 422 })
  // Nobody but the lost keys could renew the file under the targets that are published.
  expect((await world.sign('targets', only(world.keys.targets, 0, 1))).status).toBe(409)
  await world.call('POST', '/metadata/fw-gate-2/draft', {})
  const half = await world.sign('fw-gate-2', fresh.slice(0, 1))
  expect(half.body).toMatchObject({ state: 'draft' })
  expect((await world.sign('targets', only(world.keys.targets, 0))).status).toBe(409)
  const whole = await world.sign('fw-gate-2', fresh.slice(1))
  expect(whole.body).toMatchObject({ state: 'published', version: 2 })
  const { items } = await world.call('GET', '/metadata')
  expect(items?.find(({ role }) => role === 'targets')).toMatchObject({
    published: { version: 3 },
    draft: null,
  })
  forgetCurrent(world.ctx.db)
  const { state, targets } = await device.poll()
  expect(targets).toHaveLength(1)
  expect(state.image.delegated['fw-gate-2']).toContain(
    keyId(tufKeyOf(only(fresh, 0)[0] ?? release)),
  )
  const { items: audited } = await world.call('GET', '/audit?action=metadata.publish')
  expect(audited?.slice(0, 2).map(({ subject }) => subject)).toEqual(
    expect.arrayContaining(['targets', 'fw-gate-2']),
  )
})

test('a new build does not go out by the way of a handover: its release publishes it', async () => {
  const [release] = world.keys.release
  const fresh = makeKeys(2)
  if (!release) throw new Error('There are three')
  await world.publishRelease()
  await put(named([release, ...fresh]))
  await world.sign('targets', only(world.keys.targets, 0, 1))
  const later = await world.draftRelease({ version: '2.4.2', build: 413 })
  await world.act(later, 'submit')
  expect((await world.sign('fw-gate-2', fresh)).body).toMatchObject({ state: 'draft' })
  expect((await world.sign('targets', only(world.keys.targets, 0))).status).toBe(409)
  expect((await world.act(later, 'publish')).status).toBe(409)
})

test('the same holds for image targets when a root replaces their keys', async () => {
  const signers = await world.call('POST', '/metadata/root/draft', {})
  const root = JSON.parse(String(signers['signed'])) as {
    keys: Record<string, unknown>
    roles: { targets: { keyids: string[] } }
  }
  const [first, second] = world.keys.targets.map((key) => keyId(tufKeyOf(key)))
  root.roles.targets.keyids = root.roles.targets.keyids.filter((id) => id !== first)
  delete root.keys[first ?? '']
  expect(root.roles.targets.keyids).toContain(second)
  await world.call('POST', '/metadata/root/draft', { signed: JSON.stringify(root) })
  const refused = await world.sign('root', only(world.keys.imageRoot, 0, 1))
  expect(refused).toMatchObject({ status: 409 })
  expect(refused.text).toContain('fleetseal sign draft targets --renew')
  await world.call('POST', '/metadata/targets/draft', {})
  await world.sign('targets', only(world.keys.targets, 1, 2))
  const again = await world.sign('root', only(world.keys.imageRoot, 0))
  expect(again.body).toMatchObject({ state: 'published' })
})

test('keys that cannot be used, or are the server’s, are refused, and nobody but an administrator names any', async () => {
  const online = await onlineKeys(world.ctx)
  const [one, two] = makeKeys(2)
  if (!one || !two) throw new Error('There are two')
  const pq = { name: 'key-9', key: pqTufKeyOf(generatePqKey('ml-dsa-44')) }
  const both = named([one, two]).keys
  for (const keys of [
    named([one, one]).keys,
    [...both, { name: 'server', key: online.image.snapshot.tufKey }],
    // Two of them would have to sign.
    [...both, pq],
  ]) {
    const answer = await put({ keys })
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
  }
  expect((await put(named([one, two]), world.api.keys.operator.secret)).status).toBe(403)
  expect((await put(named([one, two]))).status).toBe(200)
})

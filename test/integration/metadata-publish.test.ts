import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { signBytes } from '../../pki/tuf/envelope.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'
import { makeKeys } from '../support/tuf-repository.ts'

let world: ReleaseWorld
let handle: DatabaseHandle
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

/** Releases of this file follow each other: each is one build above the last. */
let build = 0
const next = (changes: Record<string, unknown> = {}) => {
  build += 1
  return { version: `1.${build}`, build, ...changes }
}

async function submitted(changes: Record<string, unknown> = {}): Promise<string> {
  const id = await world.draftRelease(next(changes))
  await world.call('POST', `/releases/${id}/actions`, { action: 'submit' })
  return id
}

async function auditCount(action: string, subject: string): Promise<number> {
  const rows = await world.ctx.db
    .selectFrom('audit_event')
    .select('seq')
    .where('action', '=', action)
    .where('subject', '=', subject)
    .execute()
  return rows.length
}

async function published(role: string) {
  const roles = await world.call('GET', '/metadata')
  return roles.items?.find((item) => item['role'] === role)?.['published']
}

test('a release goes from draft to a device, signed by two', async () => {
  const id = await submitted()
  const [first = [], second = []] = world.keys.release.map((key) => [key])

  const once = await world.sign('fw-gate-2', first)
  expect(once.body).toMatchObject({ state: 'draft', signatures: 1, threshold: 2 })
  expect(await world.act(id, 'publish')).toMatchObject({
    status: 409,
    body: { code: 'not-ready' },
  })
  const twice = await world.sign('fw-gate-2', second)
  expect(twice.body).toMatchObject({ state: 'draft', signatures: 2 })
  expect((await world.act(id, 'publish')).body).toMatchObject({ state: 'published' })

  const device = await world.device()
  const deploymentId = await world.deploy(device.id, id)
  const { targets, policy, deploymentId: told } = await device.poll()
  expect(targets).toMatchObject([{ path: 'fw/gate-2/1.1/main.bin', component: 'main' }])
  expect(policy).toMatchObject({ class: 'security', auto: true, consent: 'none' })
  expect(told).toBe(deploymentId)
})

describe('signatures', () => {
  test('one key that signs twice counts once', async () => {
    await submitted()
    const [key] = world.keys.release
    if (!key) throw new Error('no key')
    await world.sign('fw-gate-2', [key])
    expect((await world.sign('fw-gate-2', [key])).body).toMatchObject({ signatures: 1 })
    expect((await world.sign('fw-gate-2', world.keys.release.slice(1))).body).toMatchObject({
      signatures: 3,
    })
  })

  test.each([
    ['a key of nobody', () => makeKeys(1)],
    ['a key of another role', () => world.keys.targets.slice(0, 1)],
  ])('%s is refused, and nothing is taken with it', async (_, keys) => {
    await submitted()
    const reply = await world.sign('fw-gate-2', [...world.keys.release.slice(0, 1), ...keys()])
    expect(reply).toMatchObject({ status: 422, body: { code: 'signature-invalid' } })
    const roles = await world.call('GET', '/metadata')
    const role = roles.items?.find((item) => item['role'] === 'fw-gate-2')
    expect(role?.['draft']).toMatchObject({ signatures: 0 })
  })

  test('a signature over other bytes is refused', async () => {
    const draft = await world.call('GET', '/metadata/fw-gate-2/draft')
    const [key] = world.keys.release
    if (!key) throw new Error('no key')
    const reply = await world.send('fw-gate-2', draft, {
      signedSha256: draft['signedSha256'],
      signatures: [signBytes(Buffer.from('{}'), key)],
    })
    expect(reply.status).toBe(422)
  })
})

describe('drafts and those that replace them', () => {
  test('a draft that another replaced takes no more signatures, and its number is not used again', async () => {
    const before = await world.call('GET', '/metadata/fw-gate-2/draft')
    // Somebody signs at home, and sends it when the draft is another already.
    const signed = Buffer.from(String(before['signed']))
    const body = {
      signedSha256: before['signedSha256'],
      signatures: world.keys.release.slice(0, 2).map((key) => signBytes(signed, key)),
    }
    await submitted()
    const stale = await world.send('fw-gate-2', before, body)
    expect(stale).toMatchObject({ status: 409, body: { code: 'conflict' } })
    const after = await world.call('GET', '/metadata/fw-gate-2/draft')
    expect(after['version']).toBe(Number(before['version']) + 1)
    expect((await world.sign('fw-gate-2', world.keys.release.slice(0, 1))).status).toBe(200)
  })

  test('a first version that somebody signed cannot be replaced, one that nobody did can', async () => {
    await world.call('POST', '/models', { name: 'first', hardwareIds: ['f-1'] })
    await world.sign('targets', world.keys.targets.slice(0, 2))
    const submit = async () => {
      const changes = { ...next(), model: 'first', hardwareIds: ['f-1'] }
      return await world.act(await world.draftRelease(changes), 'submit')
    }
    expect((await submit()).status).toBe(200)
    expect((await submit()).body['metadataVersion']).toBe(1)
    await world.sign('fw-first', world.keys.release.slice(0, 1))
    expect(await submit()).toMatchObject({ status: 409, body: { code: 'conflict' } })
  })

  test('submitting again does not undo what people signed', async () => {
    const id = await submitted()
    await world.sign('fw-gate-2', world.keys.release.slice(0, 1))
    await world.call('POST', `/releases/${id}/actions`, { action: 'submit' })
    const reply = await world.sign('fw-gate-2', world.keys.release.slice(1, 2))
    expect(reply.body).toMatchObject({ signatures: 2 })
  })
})

describe('publication at the same time', () => {
  test('110: one release published by two at once is published once', async () => {
    const id = await submitted()
    await world.sign('fw-gate-2', world.keys.release.slice(0, 2))
    const replies = await Promise.all([world.act(id, 'publish'), world.act(id, 'publish')])
    expect(replies.map(({ status }) => status)).toEqual([200, 200])
    expect(await auditCount('release.publish', id)).toBe(1)
  })

  test('110: two models published at once are both in the snapshot that is served', async () => {
    for (const name of ['lamp-a', 'lamp-b']) {
      await world.call('POST', '/models', { name, hardwareIds: ['lamp-1'] })
    }
    await world.sign('targets', world.keys.targets.slice(0, 2))
    const ids = await Promise.all(
      ['lamp-a', 'lamp-b'].map(async (model) => {
        const id = await world.draftRelease({ ...next(), model, hardwareIds: ['lamp-1'] })
        await world.call('POST', `/releases/${id}/actions`, { action: 'submit' })
        await world.sign(`fw-${model}`, world.keys.release.slice(0, 2))
        return id
      }),
    )
    // Both have read and checked the same state before either writes: one must sign again.
    const { storage } = world.ctx
    const { promise: together, resolve } = Promise.withResolvers<void>()
    let arrived = 0
    world.ctx.storage = {
      ...storage,
      open: async (sha256) => {
        arrived += 1
        if (arrived === 2) resolve()
        await together
        return await storage.open(sha256)
      },
    }
    const replies = await Promise.all(ids.map(async (id) => await world.act(id, 'publish')))
    world.ctx.storage = storage
    expect(replies.map(({ body }) => body['state'])).toEqual(['published', 'published'])
    expect(arrived).toBe(3)
    const newest = await world.ctx.db
      .selectFrom('metadata_file')
      .select('signed')
      .where('role', '=', 'snapshot')
      .orderBy('version', 'desc')
      .executeTakeFirstOrThrow()
    expect(Object.keys((JSON.parse(newest.signed) as { meta: object }).meta)).toEqual(
      expect.arrayContaining(['fw-lamp-a.json', 'fw-lamp-b.json', 'fw-gate-2.json']),
    )
  })
})

describe('what is published already', () => {
  test('112: other bytes for a published version are refused and raise the alarm', async () => {
    const { version } = (await published('fw-gate-2')) as { version: number }
    const reply = await world.send(
      'fw-gate-2',
      { version },
      {
        signedSha256: 'c'.repeat(64),
        signatures: [{ keyid: 'a'.repeat(64), sig: 'b'.repeat(128) }],
      },
    )
    expect(reply).toMatchObject({ status: 409, body: { code: 'conflict' } })
    const events = await world.call('GET', '/events?kind=equivocation')
    expect(events.items).toMatchObject([{ severity: 'critical', facts: { role: 'fw-gate-2' } }])
  })

  test('115, twin of 112: the same signatures after the publication change nothing', async () => {
    const { version } = (await published('fw-gate-2')) as { version: number }
    const row = await world.ctx.db
      .selectFrom('metadata_file')
      .selectAll()
      .where('role', '=', 'fw-gate-2')
      .where('version', '=', version)
      .executeTakeFirstOrThrow()
    const { signatures } = JSON.parse(row.envelope ?? '') as { signatures: unknown }
    const before = await published('snapshot')
    const reply = await world.send(
      'fw-gate-2',
      { version },
      {
        signedSha256: row.signed_sha256,
        signatures,
      },
    )
    expect(reply).toMatchObject({ status: 200, body: { state: 'published', signatures: 2 } })
    expect(await published('snapshot')).toEqual(before)
  })
})

describe('publication is refused when', () => {
  test('bytes that are no longer in the storage stop it', async () => {
    const id = await submitted()
    await world.sign('fw-gate-2', world.keys.release.slice(0, 2))
    const { storage } = world.ctx
    world.ctx.storage = { ...storage, open: async () => undefined }
    const refused = await world.act(id, 'publish')
    world.ctx.storage = storage
    expect(refused).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect((await world.act(id, 'publish')).body).toMatchObject({ state: 'published' })
  })

  test('a model whose delegation is not signed yet says so', async () => {
    await world.call('POST', '/models', { name: 'new-one', hardwareIds: ['n-1'] })
    const id = await world.draftRelease({ ...next(), model: 'new-one', hardwareIds: ['n-1'] })
    await world.call('POST', `/releases/${id}/actions`, { action: 'submit' })
    expect((await world.act(id, 'publish')).body).toMatchObject({
      code: 'not-ready',
      detail: expect.stringContaining('targets'),
    })
  })
})

describe('withdrawal', () => {
  test('goes out when it is signed, and the device has nothing to install', async () => {
    const kept = await submitted()
    const bad = await submitted()
    await world.sign('fw-gate-2', world.keys.release.slice(0, 2))
    for (const id of [kept, bad])
      await world.call('POST', `/releases/${id}/actions`, { action: 'publish' })
    const device = await world.device()
    await world.deploy(device.id, bad)
    expect((await device.poll()).targets).toHaveLength(1)

    expect((await world.act(bad, 'withdraw')).body).toMatchObject({ state: 'withdrawn' })
    const reply = await world.sign('fw-gate-2', world.keys.release.slice(0, 2))
    expect(reply.body).toMatchObject({ state: 'published' })
    expect((await device.poll()).targets).toEqual([])
    expect(await world.act(bad, 'publish')).toMatchObject({ status: 409 })
  })
})

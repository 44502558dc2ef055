import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { buildRoot } from '../../pki/tuf/build.ts'
import { encodeEnvelope, signBytes } from '../../pki/tuf/envelope.ts'
import { exportEncrypted, generateRoleKey } from '../../pki/tuf/keys.ts'
import { latestExpiry } from '../../pki/tuf/publish-check.ts'
import { readRoot } from '../../pki/tuf/read.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { rootIn } from '../../server/metadata/authority.ts'
import { onlineKeys } from '../../server/metadata/online-keys.ts'
import { rootsReadiness } from '../../server/metadata/roots.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'
import { makeKeys, signers } from '../support/tuf-repository.ts'

let handle: DatabaseHandle
let world: ReleaseWorld
beforeEach(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.start(handle)
})
afterEach(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

describe('importing the roots of a key ceremony', () => {
  test('begins both repositories, loudly for evaluation; again changes nothing', async () => {
    await world.call('POST', '/models', { name: 'gate-2', hardwareIds: ['gate-2-r3'] })
    const made = await world.ceremony()
    expect(await rootsReadiness(world.ctx)).toEqual({ roots: 'none' })
    expect(await world.api.call('POST', '/metadata/roots', made)).toMatchObject({
      status: 201,
      body: { evaluation: true, isNew: true },
    })
    expect(await rootsReadiness(world.ctx)).toEqual({ roots: 'evaluation' })
    expect(JSON.stringify(world.api.log())).toContain('EVALUATION KEYS')
    expect((await world.call('POST', '/metadata/roots', made))['isNew']).toBe(false)
    const { items = [] } = await world.call('GET', '/metadata')
    expect(items.map((item) => item['role'])).toEqual(
      expect.arrayContaining(['director-root', 'root', 'targets', 'snapshot', 'timestamp']),
    )
    // The model was there first; its delegation waits for signatures now.
    expect(items.find((item) => item['role'] === 'targets')?.['draft']).toMatchObject({
      version: 2,
      signatures: 0,
      threshold: 2,
    })
  })

  test('other roots afterwards are refused', async () => {
    await world.importRoots()
    world.keys.imageRoot.splice(0, 3, ...makeKeys(3))
    expect(await world.importRoots()).toMatchObject({ status: 409, body: { code: 'conflict' } })
  })

  test('only an admin may', async () => {
    const key = world.api.keys.operator.secret
    const made = await world.ceremony()
    expect((await world.api.call('POST', '/metadata/roots', made, { key })).status).toBe(403)
  })
})

describe('roots that are not to be trusted', () => {
  test.each<[string, (made: Ceremony) => Ceremony | Promise<Ceremony>]>([
    ['too few signatures', (made) => withImageRoot(made, oneSignature(made.image.root))],
    [
      'an evaluation and a production root',
      async (made) => ({
        ...made,
        director: (await world.ceremony({ evaluation: false })).director,
      }),
    ],
    ['a root that one person could sign', async () => await world.ceremony({ rootThreshold: 1 })],
    ['a file that is not canonical', (made) => withImageRoot(made, `${made.image.root} `)],
    [
      'too few release keys',
      (made) => ({
        ...made,
        releaseKeys: made.releaseKeys.slice(0, 1).flatMap((key) => [key, key]),
      }),
    ],
    [
      'targets of other keys',
      (made) => ({
        ...made,
        image: { ...made.image, targets: oneSignature(made.image.targets) },
      }),
    ],
    ['text that is no metadata', (made) => withImageRoot(made, '{}')],
  ])('%s: refused, nothing is stored', async (_, change) => {
    const made = await change(await world.ceremony())
    const reply = await world.api.call('POST', '/metadata/roots', made)
    expect(reply).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
    expect(await rootsReadiness(world.ctx)).toEqual({ roots: 'none' })
  })

  test('roots that name online keys of another server are refused', async () => {
    const made = await world.ceremony()
    const root = rootIn(made.image.root)
    const { snapshot } = (await onlineKeys(world.ctx)).image
    const stranger = generateRoleKey()
    const text = buildRoot({
      version: 1,
      expiresAt: latestExpiry('root', world.ctx.clock.now()),
      evaluation: true,
      roles: {
        root: signers(world.keys.imageRoot, 2),
        targets: signers(world.keys.targets, 2),
        snapshot: { keys: [snapshot.tufKey], threshold: 1 },
        timestamp: signers([stranger], 1),
      },
    })
    expect(root.version).toBe(1)
    const signed = encodeEnvelope(
      text,
      world.keys.imageRoot.slice(0, 2).map((key) => signBytes(text, key)),
    ).toString()
    const reply = await world.api.call('POST', '/metadata/roots', withImageRoot(made, signed))
    expect(reply).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
    expect(reply.text).toContain('timestamp')
  })

  test('roots that have expired are refused', async () => {
    const made = await world.ceremony()
    world.ctx.clock.advance({ seconds: 366 * 86_400 })
    expect((await world.api.call('POST', '/metadata/roots', made)).status).toBe(400)
  })
})

type Ceremony = Awaited<ReturnType<ReleaseWorld['ceremony']>>

function withImageRoot(made: Ceremony, root: string): Ceremony {
  return { ...made, image: { ...made.image, root } }
}

/** The same file, canonical, with its first signature only. */
function oneSignature(text: string): string {
  const { signatures } = JSON.parse(text) as { signatures: { keyid: string; sig: string }[] }
  const signed = text.slice(text.indexOf(',"signed":') + ',"signed":'.length, -1)
  return encodeEnvelope(Buffer.from(signed), signatures.slice(0, 1)).toString()
}

describe('publishing', () => {
  test('without roots is refused and names the command', async () => {
    await world.call('POST', '/models', { name: 'gate-2', hardwareIds: ['gate-2-r3'] })
    const id = await world.draftRelease()
    await world.call('POST', `/releases/${id}/actions`, { action: 'submit' })
    const reply = await world.act(id, 'publish')
    expect(reply).toMatchObject({ status: 409, body: { code: 'not-ready' } })
    expect(reply.text).toContain('fleetseal sign init')
  })

  test.each([
    { evaluation: false, status: 409 },
    { evaluation: true, status: 200 },
  ])('with role keys in the data directory, evaluation $evaluation', async (given) => {
    await world.importRoots({ evaluation: given.evaluation })
    await world.call('POST', '/models', { name: 'gate-2', hardwareIds: ['gate-2-r3'] })
    const folder = join(world.ctx.config.dataDir, 'keys')
    await mkdir(folder, { recursive: true })
    const pem = exportEncrypted(generateRoleKey(), 'correct horse battery')
    await writeFile(join(folder, 'release.pem'), pem)
    const [one = [], two = []] = world.keys.targets.map((key) => [key])
    await world.sign('targets', one)
    expect((await world.sign('targets', two)).status).toBe(given.status)
    await rm(folder, { recursive: true })
    // The signatures were kept: sending one again publishes.
    if (!given.evaluation)
      expect((await world.sign('targets', two)).body['state']).toBe('published')
  })
})

describe('the next root', () => {
  test('needs the thresholds of both, is served, and devices walk to it', async () => {
    await world[Symbol.asyncDispose]()
    world = await ReleaseWorld.ready(handle)
    const id = await world.publishRelease()
    const device = await world.device()
    await world.deploy(device.id, id)
    await device.poll()

    const fresh = makeKeys(3)
    const online = await onlineKeys(world.ctx)
    const signed = buildRoot({
      version: 2,
      expiresAt: latestExpiry('root', world.ctx.clock.now()),
      evaluation: true,
      roles: {
        root: signers(fresh, 2),
        targets: signers(world.keys.targets, 2),
        snapshot: { keys: [online.image.snapshot.tufKey], threshold: 1 },
        timestamp: { keys: [online.image.timestamp.tufKey], threshold: 1 },
      },
    })
    await world.call('POST', '/metadata/root/draft', { signed: signed.toString() })
    const onlyOld = await world.sign('root', world.keys.imageRoot.slice(0, 2))
    const missing = [{ keys: 'next', scheme: 'ed25519', signatures: 0, threshold: 2 }]
    expect(onlyOld).toMatchObject({ status: 200, body: { state: 'draft', missing } })
    const both = await world.sign('root', fresh.slice(0, 2))
    expect(both.body).toMatchObject({ state: 'published', version: 2 })

    const { state } = await device.poll()
    const held = JSON.parse(state.image.root) as { signed: never }
    expect(readRoot(held.signed).version).toBe(2)
    const other = await world.device()
    await world.deploy(other.id, id)
    expect((await other.poll()).targets).toHaveLength(1)
  })

  test('a renewal says the same and publishes itself at the threshold', async () => {
    await world.importRoots()
    await world.call('POST', '/metadata/director-root/draft', {})
    const reply = await world.sign('director-root', world.keys.directorRoot.slice(0, 2))
    expect(reply.body).toMatchObject({ state: 'published', version: 2 })
  })

  test('a version that is not the next one is refused', async () => {
    await world.importRoots()
    const draft = await world.call('POST', '/metadata/root/draft', {})
    expect(draft['version']).toBe(2)
    const skipped = String(draft['signed']).replace('"version":2,', '"version":3,')
    const reply = await world.api.call('POST', '/metadata/root/draft', { signed: skipped })
    expect(reply).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
    const same = await world.api.call('POST', '/metadata/root/draft', { signed: draft['signed'] })
    expect(same.status).toBe(201)
  })
})

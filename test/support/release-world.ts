import { createHash, type KeyObject, randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { buildRoot, buildTargets, type RoleSigners } from '../../pki/tuf/build.ts'
import { heldVersions, newTrustedState } from '../../pki/tuf/bundle.ts'
import { encodeEnvelope, signBytes } from '../../pki/tuf/envelope.ts'
import { tufKeyOf } from '../../pki/tuf/keys.ts'
import { generatePqKey, pqTufKeyOf, signPqBytes } from '../../pki/tuf/post-quantum.ts'
import { latestExpiry } from '../../pki/tuf/publish-check.ts'
import { isRootsOnly, takeRoots } from '../../pki/tuf/roots.ts'
import type { DeviceFacts, TrustedState, VerifiedBundle } from '../../pki/tuf/types.ts'
import { verifyBundle } from '../../pki/tuf/verify.ts'
import { openDirectoryStorage } from '../../server/artifacts/directory-storage.ts'
import type { ArtifactStorage } from '../../server/artifacts/storage.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { bundlesFor } from '../../server/director/service.ts'
import { newId } from '../../server/ids.ts'
import { ensureOnlineKeys, onlineKeys } from '../../server/metadata/online-keys.ts'
import type { BundleMessage } from '../../server/protocol/messages.ts'
import { type Reply, startApi, type TestApi } from './api.ts'
import { StatementCounter } from './rollout-world.ts'
import { makeKeys, signers } from './tuf-repository.ts'

const mixedReason = { kind: 'not_technically_feasible', text: 'One image holds everything.' }

export interface OfflineKeys {
  imageRoot: KeyObject[]
  targets: KeyObject[]
  release: KeyObject[]
  directorRoot: KeyObject[]
}

/** A server with its operators' interface, the people who hold the offline keys, and devices. */
export class ReleaseWorld implements AsyncDisposable {
  readonly api: TestApi
  readonly storage: ArtifactStorage
  readonly folder: string
  readonly counter: StatementCounter
  readonly keys: OfflineKeys = {
    imageRoot: makeKeys(3),
    targets: makeKeys(3),
    release: makeKeys(3),
    directorRoot: makeKeys(3),
  }
  roots = { director: '', image: '' }
  /** The ML-DSA half of each offline key, in a hybrid installation. */
  readonly halves = new Map<KeyObject, KeyObject>()

  private constructor(given: {
    api: TestApi
    storage: ArtifactStorage
    folder: string
    counter: StatementCounter
  }) {
    this.api = given.api
    this.storage = given.storage
    this.folder = given.folder
    this.counter = given.counter
  }

  /** `given` is where artifacts are, instead of a folder of its own, and is closed with it. */
  static async start(handle: DatabaseHandle, given?: ArtifactStorage): Promise<ReleaseWorld> {
    const folder = await mkdtemp(join(tmpdir(), 'fleetseal-releases-'))
    const storage = given ?? (await openDirectoryStorage(join(folder, 'artifacts')))
    const counter = new StatementCounter()
    // One `Db` for all, or caches by database would see two.
    const api = await startApi(handle, { storage, db: handle.db.withPlugin(counter) })
    await ensureOnlineKeys(api.ctx)
    return new ReleaseWorld({ api, storage, folder, counter })
  }

  /** With roots, a model `gate-2` whose delegation is signed, and nothing released. */
  static async ready(
    handle: DatabaseHandle,
    { hybrid = false, storage }: { hybrid?: boolean; storage?: ArtifactStorage } = {},
  ): Promise<ReleaseWorld> {
    const world = await ReleaseWorld.start(handle, storage)
    if (hybrid) world.makeHybrid()
    await world.importRoots()
    await world.call('POST', '/models', { name: 'gate-2', hardwareIds: ['gate-2-r3', 'gate-2-r4'] })
    await world.sign('targets', world.keys.targets.slice(0, 2))
    return world
  }

  makeHybrid(): void {
    for (const key of Object.values(this.keys).flat()) {
      this.halves.set(key, generatePqKey('ml-dsa-44'))
    }
  }

  /** Both halves of these keys, as a role names them. */
  signersOf(keys: KeyObject[], threshold: number): RoleSigners {
    const pq = this.#halvesOf(keys).map(pqTufKeyOf)
    return { ...signers(keys, threshold), ...(pq.length > 0 && { pq: { keys: pq, threshold } }) }
  }

  #halvesOf(keys: KeyObject[]): KeyObject[] {
    return keys.flatMap((key) => this.halves.get(key) ?? [])
  }

  get ctx() {
    return this.api.ctx
  }

  /** Fails the test when the call does. */
  async call(method: string, path: string, body?: unknown): Promise<Reply['body']> {
    const reply = await this.api.call(method, path, body)
    if (reply.status >= 300) throw new Error(`${method} ${path}: ${reply.status} ${reply.text}`)
    return reply.body
  }

  /** What `fleetseal sign init` makes. */
  async ceremony({ evaluation = true, rootThreshold = 2 } = {}) {
    const online = await onlineKeys(this.ctx)
    const { imageRoot, targets, directorRoot, release } = this.keys
    const now = this.ctx.clock.now()
    const pqRequired = this.halves.size > 0
    const head = { version: 1, expiresAt: latestExpiry('root', now), evaluation, pqRequired }
    const one = (key: { tufKey: ReturnType<typeof tufKeyOf> }) => ({
      keys: [key.tufKey],
      threshold: 1,
    })
    const image = buildRoot({
      ...head,
      roles: {
        root: this.signersOf(imageRoot, rootThreshold),
        targets: this.signersOf(targets, 2),
        snapshot: one(online.image.snapshot),
        timestamp: one(online.image.timestamp),
      },
    })
    const director = buildRoot({
      ...head,
      roles: {
        root: this.signersOf(directorRoot, 2),
        targets: one(online.director.targets),
        snapshot: one(online.director.snapshot),
        timestamp: one(online.director.timestamp),
      },
    })
    const empty = buildTargets({
      version: 1,
      expiresAt: latestExpiry('targets', now),
      delegations: [],
    })
    return {
      image: { root: this.#file(image, imageRoot), targets: this.#file(empty, targets) },
      director: { root: this.#file(director, directorRoot) },
      releaseKeys: release.map(tufKeyOf),
      ...(pqRequired && { releasePqKeys: this.#halvesOf(release).map(pqTufKeyOf) }),
    }
  }

  #file(signed: Buffer, keys: KeyObject[]): string {
    const two = keys.slice(0, 2)
    return encodeEnvelope(
      signed,
      two.map((key) => signBytes(signed, key)),
      this.#halvesOf(two).map((key) => signPqBytes(signed, key)),
    ).toString()
  }

  async importRoots(options: { evaluation?: boolean } = {}): Promise<Reply> {
    const made = await this.ceremony(options)
    this.roots = { image: made.image.root, director: made.director.root }
    return await this.api.call('POST', '/metadata/roots', made)
  }

  async upload(bytes: Buffer | string = randomBytes(2_000), name = 'main.bin') {
    const response = await fetch(`${this.api.url}/api/v1/artifacts?name=${name}`, {
      method: 'PUT',
      headers: {
        Authorization: `Bearer ${this.api.keys['release-manager'].secret}`,
        'Content-Type': 'application/octet-stream',
      },
      body: new Uint8Array(Buffer.from(bytes)),
    })
    return (await response.json()) as { id: string; sha256: string; size: number }
  }

  /** The body of a release that may be published, with bytes of its own. */
  async releaseBody(changes: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
    const { id } = await this.upload()
    return {
      model: 'gate-2',
      component: 'main',
      version: '2.4.1',
      build: 412,
      class: 'security',
      artifactId: id,
      hardwareIds: ['gate-2-r3'],
      fixes: ['CVE-2026-1234'],
      advisory: { id: 'FS-2026-017', severity: 'high', url: '/a/2026-017', text: 'Install it.' },
      // Versions here jump from line to line.
      ...(changes['class'] === undefined || changes['class'] === 'security' ? { mixedReason } : {}),
      ...changes,
    }
  }

  async draftRelease(changes: Record<string, unknown> = {}): Promise<string> {
    const { id } = await this.call('POST', '/releases', await this.releaseBody(changes))
    return String(id)
  }

  async act(releaseId: string, action: string): Promise<Reply> {
    return await this.api.call('POST', `/releases/${releaseId}/actions`, { action })
  }

  /** Submitted, signed by two and public. */
  async publishRelease(changes: Record<string, unknown> = {}): Promise<string> {
    const id = await this.draftRelease(changes)
    await this.call('POST', `/releases/${id}/actions`, { action: 'submit' })
    await this.sign('fw-gate-2', this.keys.release.slice(0, 2))
    await this.call('POST', `/releases/${id}/actions`, { action: 'publish' })
    return id
  }

  /** The offline signer: fetches a draft, signs it, sends the signatures. */
  async sign(role: string, keys: KeyObject[]): Promise<Reply> {
    const draft = await this.call('GET', `/metadata/${role}/draft`)
    const signed = Buffer.from(String(draft['signed']))
    return await this.send(role, draft, {
      signedSha256: createHash('sha256').update(signed).digest('hex'),
      signatures: keys.map((key) => signBytes(signed, key)),
      ...(this.halves.size > 0 && {
        pqSignatures: this.#halvesOf(keys).map((key) => signPqBytes(signed, key)),
      }),
    })
  }

  async send(role: string, draft: Reply['body'], body: unknown): Promise<Reply> {
    const path = `/metadata/${role}/${String(draft['version'])}/signatures`
    return await this.api.call('POST', path, body)
  }

  async device(changes: { managed?: boolean; state?: 'active' | 'disabled' } = {}) {
    const id = newId(this.ctx.clock.now())
    await this.ctx.db
      .insertInto('device')
      .values({
        id,
        name: id,
        serial_number: id,
        state: 'active',
        model: 'gate-2',
        hardware_ids: ['gate-2-r3'],
        created_at: this.ctx.clock.now(),
        changed_at: this.ctx.clock.now(),
        managed_agreed: changes.managed ?? false,
        ...changes,
      })
      .execute()
    return new TestDevice(this, id)
  }

  async deploy(deviceId: string, releaseId: string): Promise<string> {
    const now = this.ctx.clock.now()
    const ids = { group: randomUUID(), rollout: newId(now), deployment: newId(now) }
    const { db } = this.ctx
    await db
      .insertInto('device_group')
      .values({ id: ids.group, name: ids.group, created_at: now })
      .execute()
    await db
      .insertInto('rollout')
      .values({
        id: ids.rollout,
        name: 'Test',
        release_id: releaseId,
        group_id: ids.group,
        seed: randomBytes(16),
        state: 'running',
        created_by: 'system',
        created_at: now,
        changed_at: now,
      })
      .execute()
    await db
      .insertInto('deployment')
      .values({
        id: ids.deployment,
        rollout_id: ids.rollout,
        device_id: deviceId,
        release_id: releaseId,
        component: 'main',
        phase_no: 1,
        state: 'queued',
        created_at: now,
        changed_at: now,
      })
      .execute()
    return ids.deployment
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api[Symbol.asyncDispose]()
    await this.storage[Symbol.asyncDispose]()
    await rm(this.folder, { recursive: true, force: true })
  }
}

/** A device with the real verifier. It keeps what it verified, as a device does. */
export class TestDevice {
  readonly id: string
  readonly #world: ReleaseWorld
  state: TrustedState
  facts: DeviceFacts

  constructor(world: ReleaseWorld, id: string) {
    this.id = id
    this.#world = world
    this.state = newTrustedState(world.roots)
    this.facts = {
      deviceId: id,
      model: 'gate-2',
      hardwareIds: ['gate-2-r3'],
      components: { main: { build: 400, svn: 0 } },
      allowEvaluation: true,
    }
  }

  /** Says hello; undefined when the server does not answer. */
  async ask(nonce: string, have = heldVersions(this.state)): Promise<BundleMessage | undefined> {
    const requests = [{ deviceId: this.id, nonce, have }]
    return (await bundlesFor(this.#world.ctx, requests)).get(this.id)
  }

  /** Says hello and verifies the answer. Throws what the verifier throws. */
  async poll(): Promise<VerifiedBundle> {
    const nonce = randomBytes(16).toString('hex')
    const bundle = await this.ask(nonce)
    if (!bundle) throw new Error('The server did not answer')
    if (isRootsOnly(bundle)) {
      this.state = takeRoots(this.state, bundle, this.facts)
      return await this.poll()
    }
    const verified = verifyBundle(this.state, bundle, this.facts, { nonce })
    this.state = verified.state
    return verified
  }
}

import { randomUUID } from 'node:crypto'
import { join } from 'node:path'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { type DeltaLimits, deltaWorkers } from '../../server/deltas/workers.ts'
import { forgetForms } from '../../server/director/forms.ts'
import { sha256Of, twoImages } from './delta-fixture.ts'
import { ReleaseWorld, type TestDevice } from './release-world.ts'

/** Two images of which half compresses. */
export function images(seed: string) {
  const { old, next } = twoImages(90_000)
  const rest = Buffer.from(seed.repeat(90_000 / seed.length))
  return { old: Buffer.concat([rest, old]), next: Buffer.concat([rest, next]) }
}

const signal = new AbortController().signal

/** Releases with images that devices have and are to get, and the worker that makes the ways between them. */
export class DeltaWorld implements AsyncDisposable {
  readonly releases: ReleaseWorld
  #build = 500

  private constructor(releases: ReleaseWorld) {
    this.releases = releases
  }

  static async open(handle: DatabaseHandle): Promise<DeltaWorld> {
    return new DeltaWorld(await ReleaseWorld.ready(handle))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.releases[Symbol.asyncDispose]()
  }

  get ctx() {
    return this.releases.ctx
  }

  /** Published. */
  async releaseOf({ old, next }: { old: Buffer; next: Buffer }): Promise<string> {
    await this.releases.upload(old)
    const { id: artifactId } = await this.releases.upload(next)
    this.#build += 1
    const build = this.#build
    return await this.releases.publishRelease({ version: `5.${build}.0`, build, artifactId })
  }

  async deviceWith(image: Buffer, release: string): Promise<TestDevice> {
    const device = await this.releases.device()
    await this.runs(device, image)
    await this.releases.deploy(device.id, release)
    return device
  }

  async runs(device: TestDevice, image: Buffer): Promise<void> {
    const sha256 = sha256Of(image)
    const installed = [{ component: 'main', version: '1', build: 1, svn: 0, sha256 }]
    await this.ctx.db
      .updateTable('device')
      .set({ installed: JSON.stringify(installed) })
      .where('id', '=', device.id)
      .execute()
  }

  /** Plans and makes until there is nothing left. */
  async work(limits: Partial<DeltaLimits> = {}): Promise<void> {
    for (const worker of deltaWorkers(this.ctx, { planAgainMs: 0, ...limits })) {
      this.ctx.clock.advance({ seconds: 1 })
      for (let more = true; more;) more = await worker.step(signal)
    }
    forgetForms(this.ctx.db)
  }

  /** The workers of another process, with a data directory of its own, step by step. */
  steps() {
    const dataDir = join(this.ctx.config.dataDir, randomUUID())
    const ctx = { ...this.ctx, config: { ...this.ctx.config, dataDir } }
    const [plan, make] = deltaWorkers(ctx, { planAgainMs: 0, leaseMs: 60_000 })
    if (!plan || !make) throw new Error('There are two')
    return { plan, make }
  }

  async formsOf(target: Buffer) {
    return await this.ctx.db
      .selectFrom('delivery_form')
      .selectAll()
      .where('target_sha256', '=', sha256Of(target))
      .orderBy('method')
      .orderBy('id')
      .execute()
  }

  async bytesOf(sha256: string): Promise<Buffer> {
    await using artifact = await this.releases.storage.open(sha256)
    if (!artifact) throw new Error('Not in the storage')
    const bytes = Buffer.alloc(artifact.size)
    await artifact.read(bytes, 0, bytes.length)
    return bytes
  }

  async deliveryFor(device: TestDevice) {
    const { targets } = await device.poll()
    return targets[0]?.delivery ?? []
  }

  /** What ran before is gone, and nobody is on the way to anything. */
  async startAnew(): Promise<void> {
    const { db } = this.ctx
    await db.updateTable('device').set({ state: 'disabled' }).execute()
    await db.updateTable('rollout').set({ state: 'completed' }).execute()
  }
}

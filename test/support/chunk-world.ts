import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'

import { BlockPool } from '../../server/artifacts/block-pool.ts'
import { ChunkDelivery, type ChunkLimits } from '../../server/artifacts/chunks.ts'
import { openDirectoryStorage } from '../../server/artifacts/directory-storage.ts'
import type { ArtifactStorage, OpenArtifact } from '../../server/artifacts/storage.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import type { Limits } from '../../server/mqtt/limits.ts'
import { type Chunk, parseChunk } from '../../server/protocol/chunks.ts'
import { topicOf } from '../../server/protocol/topics.ts'
import { type BrokerPki, type Credentials } from './broker-pki.ts'
import { startTestBroker, type TestBroker } from './broker.ts'
import { publishFrame, type RawDevice, types } from './raw-device.ts'

export interface ChunkWorldOptions {
  limits?: Partial<Limits>
  chunks?: Partial<ChunkLimits>
  pool?: { maxBytes: number; maxWaiting: number }
  pki?: BrokerPki
}

export interface Asker {
  credentials: Credentials
  device: RawDevice
}

/** A broker that delivers chunks, with one file of its own. */
export class ChunkWorld implements AsyncDisposable {
  readonly broker: TestBroker
  readonly bytes: Buffer
  readonly sha256: string
  /** Awaited before each read. */
  beforeRead: () => Promise<void> = async () => {}
  /** Bytes claimed from the pool at once, at most. */
  peakBytes = 0
  readonly #parts: { folder: string; storage: ArtifactStorage; chunks: ChunkDelivery }

  private constructor(
    broker: TestBroker,
    bytes: Buffer,
    sha256: string,
    parts: { folder: string; storage: ArtifactStorage; chunks: ChunkDelivery },
  ) {
    this.broker = broker
    this.bytes = bytes
    this.sha256 = sha256
    this.#parts = parts
  }

  static async start(handle: DatabaseHandle, options: ChunkWorldOptions = {}): Promise<ChunkWorld> {
    const folder = await mkdtemp(join(tmpdir(), 'fleetseal-chunks-'))
    const storage = await openDirectoryStorage(folder)
    const bytes = randomBytes(300_000)
    await using received = await storage.receive(Readable.from([bytes]), { maxBytes: 1e6 })
    await received.keep()
    let chunks: ChunkDelivery | undefined
    let world: ChunkWorld | undefined
    const pool = new WatchedPool(options.pool, (used) => {
      if (world) world.peakBytes = Math.max(world.peakBytes, used)
    })
    const broker = await startTestBroker(handle, {
      limits: options.limits ?? {},
      ...(options.pki && { pki: options.pki }),
      direct: (ctx) => {
        ctx.storage = slowed(storage, () => world?.beforeRead())
        chunks = new ChunkDelivery(ctx, pool, options.chunks)
        return [chunks]
      },
    })
    if (!chunks) throw new Error('the broker did not ask for its handlers')
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    world = new ChunkWorld(broker, bytes, sha256, { folder, storage, chunks })
    return world
  }

  /** A connected device that listens, and may download the file or not. */
  async asker({ mayDownload = true, names = [this.sha256] } = {}): Promise<Asker> {
    const { credentials, device } = await this.broker.pair()
    if (mayDownload) await this.#allow(credentials.deviceId, names)
    await device.subscribe([topicOf(credentials.deviceId, 'chunk')], 0)
    return { credentials, device }
  }

  ask({ credentials, device }: Asker, request: object, { qos = 0 } = {}): void {
    const body = { f: this.sha256.slice(0, 32), l: 65_536, o: 0, ...request }
    const topic = topicOf(credentials.deviceId, 'get')
    device.send(publishFrame({ topic, payload: JSON.stringify(body), qos }))
  }

  /** The next frame, and the QoS it came with. */
  async next({ credentials, device }: Asker, file = this.sha256) {
    const packet = await device.next(types.publish)
    if (!packet) return undefined
    const topic = topicOf(credentials.deviceId, 'chunk')
    const frame = packet.body.subarray(2 + topic.length)
    const chunk: Chunk | undefined = parseChunk(frame, file)
    return { qos: (packet.flags >> 1) & 3, chunk, frame }
  }

  /** The next so many blocks. */
  async blocks(asker: Asker, count: number): Promise<number[]> {
    const numbers: number[] = []
    while (numbers.length < count) {
      const chunk = (await this.next(asker))?.chunk
      if (chunk?.kind !== 'data') throw new Error(`a block was expected, not ${chunk?.kind}`)
      const start = chunk.block * 65_536
      if (!chunk.payload.equals(this.bytes.subarray(start, start + 65_536))) {
        throw new Error(`block ${chunk.block} has other bytes`)
      }
      numbers.push(chunk.block)
    }
    return numbers
  }

  async #allow(deviceId: string, artifact_sha256s: string[]): Promise<void> {
    const { db } = this.broker.ctx
    const now = new Date()
    await db
      .insertInto('device')
      .values({
        id: deviceId,
        name: deviceId,
        serial_number: randomUUID(),
        state: 'active',
        model: 'gate-2',
        hardware_ids: ['gate-2-r3'],
        created_at: now,
        changed_at: now,
      })
      .execute()
    await db
      .insertInto('director_state')
      .values({
        device_id: deviceId,
        targets_version: 1,
        snapshot_version: 1,
        targets: '',
        snapshot: '',
        content_hash: '',
        artifact_sha256s,
        expires_at: now,
        signed_at: now,
      })
      .execute()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { folder, storage, chunks } = this.#parts
    await chunks[Symbol.asyncDispose]()
    await this.broker[Symbol.asyncDispose]()
    await storage[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  }
}

/** Says how much of it is in use. */
class WatchedPool extends BlockPool {
  readonly #onUse: (bytes: number) => void
  #used = 0

  constructor(
    bounds = { maxBytes: 64 * 1024 * 1024, maxWaiting: 4_096 },
    onUse: (bytes: number) => void,
  ) {
    super(262_144, bounds)
    this.#onUse = onUse
  }

  override async claim(bytes: number, patience: Parameters<BlockPool['claim']>[1]) {
    const block = await super.claim(bytes, patience)
    this.#used += bytes
    this.#onUse(this.#used)
    let held = true
    return {
      ...block,
      release: (reuse?: 'reuse') => {
        if (held) this.#used -= bytes
        held = false
        block.release(reuse)
      },
    }
  }
}

function slowed(
  storage: ArtifactStorage,
  before: () => Promise<void> | undefined,
): ArtifactStorage {
  return {
    ...storage,
    open: async (sha256): Promise<OpenArtifact | undefined> => {
      const artifact = await storage.open(sha256)
      return (
        artifact && {
          size: artifact.size,
          read: async (...at) => {
            await before()
            return await artifact.read(...at)
          },
          [Symbol.asyncDispose]: () => artifact[Symbol.asyncDispose](),
        }
      )
    },
  }
}

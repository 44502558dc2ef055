import { describe, expect, test } from 'vitest'

import { HotCache, type HotCacheOptions } from '../../../server/artifacts/hot-cache.ts'
import type { OpenArtifact } from '../../../server/artifacts/storage.ts'

const blockBytes = 8
const content = (length: number) => Buffer.from(Array.from({ length }, (_, at) => at % 251))

/** A file that counts what is read of it; `gives` is where it ends early, `step` the most that one read gives. */
function fileOf(whole: Buffer, { gives = whole.length, step = 5 } = {}) {
  const file = {
    reads: [] as number[],
    isClosed: false,
    open: (): OpenArtifact => ({
      size: whole.length,
      read: async (buffer, position, length) => {
        file.reads.push(position)
        await Promise.resolve()
        const end = Math.min(position + Math.min(length, step), gives)
        return position < end ? whole.copy(buffer, 0, position, end) : 0
      },
      [Symbol.asyncDispose]: async () => void (file.isClosed = true),
    }),
  }
  return file
}

function cacheOf(options: Partial<HotCacheOptions> = {}) {
  const clock = { ms: 0 }
  const now = () => clock.ms
  return { clock, cache: new HotCache({ blockBytes, maxBlocks: 2, now, ...options }) }
}

async function held(artifact: OpenArtifact, position: number) {
  const bytes = await artifact.hold?.(position)
  if (!bytes) throw new Error('Nothing is held')
  return bytes
}

describe('what is hot', () => {
  test('is what two read at the same time', async () => {
    const { cache } = cacheOf()
    const file = fileOf(content(20))
    await using first = cache.wrap('a', file.open())
    expect(await first.hold?.(0)).toBeUndefined()
    await using other = cache.wrap('b', file.open())
    expect(await other.hold?.(0)).toBeUndefined()
    await using second = cache.wrap('a', file.open())
    for (const artifact of [first, second]) {
      const { bytes, release } = await held(artifact, 0)
      expect(bytes).toEqual(content(8))
      release('reuse')
    }
    expect(file.reads).toEqual([0, 5])
  })

  test('is what was read lately, and not what was read long ago', async () => {
    const { cache, clock } = cacheOf({ latelyMs: 100 })
    const file = fileOf(content(20))
    const visit = async () => {
      await using artifact = cache.wrap('a', file.open())
      return (await artifact.hold?.(0)) !== undefined
    }
    expect(await visit()).toBe(false)
    clock.ms = 100
    expect(await visit()).toBe(true)
    clock.ms = 201
    expect(await visit()).toBe(false)
  })

  test('is known of a bounded number of files', async () => {
    const { cache } = cacheOf({ maxFiles: 2 })
    const file = fileOf(content(20))
    for (const sha256 of ['a', 'b', 'c'])
      await cache.wrap(sha256, file.open())[Symbol.asyncDispose]()
    await using forgotten = cache.wrap('a', file.open())
    expect(await forgotten.hold?.(0)).toBeUndefined()
    await using known = cache.wrap('c', file.open())
    expect(await known.hold?.(0)).toBeDefined()
  })
})

/** Two readers of each file, so that all of it is hot. */
function hot(cache: HotCache, sha256: string, file: ReturnType<typeof fileOf>) {
  return [cache.wrap(sha256, file.open()), cache.wrap(sha256, file.open())] as const
}

describe('blocks', () => {
  test('are read once for two who want them at the same time, and both get the bytes', async () => {
    const { cache } = cacheOf()
    const file = fileOf(content(20))
    const both = await Promise.all(hot(cache, 'a', file).map(async (one) => await held(one, 8)))
    expect(both.map(({ bytes }) => bytes)).toEqual([
      content(16).subarray(8),
      content(16).subarray(8),
    ])
    expect(both.map(({ isHit }) => isHit)).toEqual([false, true])
    expect(file.reads).toEqual([8, 13])
  })

  test('are given from any position on, up to their end and that of the file', async () => {
    const { cache } = cacheOf()
    const [artifact] = hot(cache, 'a', fileOf(content(20)))
    expect((await held(artifact, 11)).bytes).toEqual(content(16).subarray(11))
    expect((await held(artifact, 17)).bytes).toEqual(content(20).subarray(17))
    expect(await artifact.hold?.(20)).toBeUndefined()
    expect(await artifact.hold?.(24)).toBeUndefined()
  })

  test('of two files are told apart', async () => {
    const { cache } = cacheOf()
    const [one] = hot(cache, 'a', fileOf(content(8)))
    const [other] = hot(cache, 'b', fileOf(content(8).reverse()))
    expect((await held(one, 0)).bytes).toEqual(content(8))
    expect((await held(other, 0)).bytes).toEqual(content(8).reverse())
  })

  test('that the file does not give whole are not kept', async () => {
    const { cache } = cacheOf()
    const [artifact] = hot(cache, 'a', fileOf(content(20), { gives: 12 }))
    expect(await artifact.hold?.(8)).toBeUndefined()
    expect(cache.size).toBe(0)
    expect((await held(artifact, 0)).bytes).toEqual(content(8))
  })

  test('that cannot be read are not kept, and the next one reads again', async () => {
    const { cache } = cacheOf()
    const file = fileOf(content(20))
    let isBroken = true
    const broken: OpenArtifact = {
      ...file.open(),
      read: async (...asked) => {
        if (isBroken) throw new Error('EIO')
        return await file.open().read(...asked)
      },
    }
    const artifacts = [cache.wrap('a', broken), cache.wrap('a', broken)]
    const asked = await Promise.allSettled(artifacts.map(async (one) => await held(one, 0)))
    expect(asked.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(cache.size).toBe(0)
    isBroken = false
    expect((await held(cache.wrap('a', broken), 0)).bytes).toEqual(content(8))
  })
})

describe('bounds', () => {
  test('the block used longest ago makes room, and no more are held than may be', async () => {
    const { cache, clock } = cacheOf({ freshMs: 10 })
    const file = fileOf(content(32))
    const [artifact] = hot(cache, 'a', file)
    for (const position of [0, 8, 0, 16]) {
      clock.ms += 10
      ;(await held(artifact, position)).release('reuse')
    }
    expect(cache.size).toBe(2)
    file.reads.length = 0
    const kept = await held(artifact, 0)
    expect(kept).toMatchObject({ isHit: true, bytes: content(8) })
    expect((await held(artifact, 16)).bytes).toEqual(content(24).subarray(16))
    expect(file.reads).toEqual([])
  })

  test('what is being sent keeps its bytes: without another block to give up nothing is taken in', async () => {
    const { cache, clock } = cacheOf({ freshMs: 10 })
    const [artifact] = hot(cache, 'a', fileOf(content(32)))
    const first = await held(artifact, 0)
    const second = await held(artifact, 8)
    clock.ms = 1_000
    expect(await artifact.hold?.(16)).toBeUndefined()
    expect(cache.size).toBe(2)
    second.release('reuse')
    second.release('reuse')
    const third = await held(artifact, 16)
    expect(third.bytes).toEqual(content(24).subarray(16))
    expect(third.bytes.buffer).toBe(second.bytes.buffer)
    expect(first.bytes).toEqual(content(8))
    expect(await artifact.hold?.(24)).toBeUndefined()
  })

  test('a file larger than the cache does not push out itself', async () => {
    const { cache, clock } = cacheOf({ freshMs: 1_000 })
    const [artifact] = hot(cache, 'a', fileOf(content(32)))
    const hits: (boolean | undefined)[] = []
    for (const position of [0, 8, 16, 24, 0, 8, 16, 24]) {
      clock.ms += 1
      const block = await artifact.hold?.(position)
      block?.release('reuse')
      hits.push(block?.isHit)
    }
    expect(hits).toEqual([false, false, undefined, undefined, true, true, undefined, undefined])
  })

  test('memory that a closed socket may have still is not filled with other bytes', async () => {
    const { cache, clock } = cacheOf({ freshMs: 10, maxBlocks: 1 })
    const [artifact] = hot(cache, 'a', fileOf(content(32)))
    const lost = await held(artifact, 0)
    lost.release()
    clock.ms = 1_000
    const next = await held(artifact, 8)
    expect(next.bytes).toEqual(content(16).subarray(8))
    expect(lost.bytes).toEqual(content(8))
  })

  test('the file is closed with its reader', async () => {
    const { cache } = cacheOf()
    const file = fileOf(content(8))
    await cache.wrap('a', file.open())[Symbol.asyncDispose]()
    expect(file.isClosed).toBe(true)
  })
})

import { createHash } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { constants, createZstdCompress } from 'node:zlib'

import type { EncodeResult, EncodeTask, FromThread, ImageName, ToThread } from './encode-task.ts'
import { blockSizesFor, encodeDelta, type ImageSource } from './encode.ts'
import type { FormReason } from './state.ts'

/*
 * The thread that makes one form and ends: what it costs is off the event loop, and its memory goes with it. It reads the images
 * by asking for pieces, and writes what it makes into a file.
 */

/** A form that is of no use. */
class Refusal extends Error {
  readonly reason: FormReason

  constructor(reason: FormReason) {
    super(reason)
    this.reason = reason
  }
}

const task = workerData as EncodeTask
const port = parentPort
if (!port) throw new Error('This is not a program')

const waiting = new Map<number, (bytes: Buffer) => void>()
port.on('message', ({ id, bytes }: ToThread) => {
  waiting.get(id)?.(Buffer.from(bytes))
  waiting.delete(id)
})
let asked = 0
const say = (message: FromThread) => port.postMessage(message)

function sourceOf(image: ImageName): ImageSource {
  const facts = task[image]
  if (!facts) throw new Error(`There is no ${image}`)
  return {
    ...facts,
    read: async (position, length) => {
      if (length === 0) return Buffer.alloc(0)
      const { promise, resolve } = Promise.withResolvers<Buffer>()
      const id = asked++
      waiting.set(id, resolve)
      say({ kind: 'read', id, image, position, length })
      return await promise
    },
  }
}

const file = openSync(task.file, 'w', 0o600)
const put = (bytes: Buffer) => {
  for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done)
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return Math.ceil((user + system) / 1000)
}

async function delta(): Promise<EncodeResult> {
  const [base, target] = [sourceOf('base'), sourceOf('target')]
  const sizes = task.sizes ?? blockSizesFor(target.length)
  const { index, frameBytes } = await encodeDelta({
    base,
    target,
    sizes,
    write: async (frame) => put(frame),
    checkpoint: (soFar) => {
      if (soFar.frameBytes > task.maxBytes) throw new Refusal('not-smaller')
      if (cpuMs() > task.maxCpuMs) throw new Refusal('cpu-limit')
    },
  })
  if (index.length + frameBytes > task.maxBytes) throw new Refusal('not-smaller')
  return { kind: 'made', index, blockBytes: sizes.blockBytes, cpuMs: cpuMs() }
}

const mib = 1024 * 1024
/** Above it the best level would take longer than it may. */
const maxBestBytes = 128 * mib

async function zstd(): Promise<EncodeResult> {
  const target = sourceOf('target')
  const hash = createHash('sha256')
  const stream = createZstdCompress({
    pledgedSrcSize: target.length,
    params: {
      [constants.ZSTD_c_compressionLevel]: target.length <= maxBestBytes ? 19 : 9,
      [constants.ZSTD_c_contentSizeFlag]: 1,
    },
  })
  let made = 0
  stream.on('data', (bytes: Buffer) => {
    made += bytes.length
    put(bytes)
  })
  const failed = new Promise<never>((_, reject) => void stream.once('error', reject))
  // It compresses in another thread, one, whose share is not known: no more than all threads took, nor than the time it took.
  let busyMs = 0
  const timed = async (work: (done: () => void) => void) => {
    const startedAt = performance.now()
    const before = process.cpuUsage()
    await Promise.race([new Promise<void>(work), failed])
    const { user, system } = process.cpuUsage(before)
    busyMs += Math.min(performance.now() - startedAt, (user + system) / 1000)
    if (made > task.maxBytes) throw new Refusal('not-smaller')
    if (busyMs > task.maxCpuMs) throw new Refusal('cpu-limit')
  }
  for (let at = 0; at < target.length; at += mib) {
    const piece = await target.read(at, Math.min(mib, target.length - at))
    hash.update(piece)
    await timed((done) => void stream.write(piece, () => done()))
  }
  await timed((done) => void stream.once('end', done).end())
  if (hash.digest('hex') !== target.sha256) throw new Error('The image has another hash')
  return { kind: 'made', cpuMs: Math.ceil(busyMs) }
}

try {
  say(await (task.base ? delta() : zstd()))
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  say({ kind: 'refused', reason: error.reason, cpuMs: cpuMs() })
} finally {
  closeSync(file)
}
// What waits for pieces would keep the thread.
port.close()

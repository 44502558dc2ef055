import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'

import type { OpenArtifact } from '../artifacts/storage.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import type { EncodeResult, EncodeTask, FromThread, ImageName, ToThread } from './encode-task.ts'
import type { Form, FormOutcome } from './store.ts'

export interface MakeLimits {
  /** Of one form (updates.md section 5.1). */
  maxCpuMs: number
}

export type MakeDeps = Pick<Context, 'storage' | 'config'>

/** A delta is chosen only below this share of what zstd makes of the whole image, zstd below this share of the image. */
const deltaShare = 0.6
const zstdShare = 0.97
const threadHeapMb = 256

/** Where threads write; cleared when the worker starts, for the data directory belongs to one process. */
export function scratchDir({ dataDir }: Context['config']): string {
  return join(dataDir, 'deltas')
}

/**
 * Makes one form in a thread and keeps its bytes under their hash. Stops the thread and throws when `signal` aborts.
 *
 * @param zstdBytes length of the target's zstd form, which a delta must beat; undefined when there is none
 * @throws DomainError `not-found` when an image is not in the storage; what the thread threw
 */
export async function makeForm(
  { storage, config }: MakeDeps,
  form: Pick<Form, 'id' | 'target_sha256' | 'base_sha256'>,
  {
    maxCpuMs,
    zstdBytes,
    signal,
  }: MakeLimits & { zstdBytes: number | undefined; signal: AbortSignal },
): Promise<FormOutcome> {
  await using images = new AsyncDisposableStack()
  const open = async (sha256: string) => {
    const artifact = await storage.open(sha256)
    if (!artifact) throw new DomainError('not-found', `The image ${sha256} is not in the storage`)
    return images.use(artifact)
  }
  const target = await open(form.target_sha256)
  const base = form.base_sha256 === null ? undefined : await open(form.base_sha256)
  const least = zstdBytes ?? target.size
  const task: EncodeTask = {
    target: { sha256: form.target_sha256, length: target.size },
    ...(base && { base: { sha256: form.base_sha256 ?? '', length: base.size } }),
    file: join(scratchDir(config), form.id),
    maxBytes: Math.floor(base ? least * deltaShare : target.size * zstdShare),
    maxCpuMs,
  }
  await mkdir(scratchDir(config), { recursive: true, mode: 0o700 })
  try {
    const result = await runThread(task, { target, ...(base && { base }) }, signal)
    if (result.kind === 'refused') {
      return { state: 'refused', reason: result.reason, cpu_ms: result.cpuMs }
    }
    return await keep(storage, task, result)
  } finally {
    await rm(task.file, { force: true })
  }
}

async function keep(
  storage: Context['storage'],
  task: EncodeTask,
  { index, blockBytes, cpuMs }: EncodeResult & { kind: 'made' },
): Promise<FormOutcome> {
  const head = Buffer.from(index ?? [])
  const bytes = async function* () {
    if (head.length > 0) yield head
    for await (const piece of createReadStream(task.file)) yield piece as Buffer
  }
  await using received = await storage.receive(bytes(), { maxBytes: task.maxBytes })
  await received.keep()
  const isDelta = index !== undefined
  return {
    state: 'made',
    sha256: received.sha256,
    length: received.size,
    cpu_ms: cpuMs,
    index_length: isDelta ? head.length : null,
    index_sha256: isDelta ? createHash('sha256').update(head).digest('hex') : null,
    block_bytes: blockBytes ?? null,
  }
}

async function runThread(
  task: EncodeTask,
  images: Partial<Record<ImageName, OpenArtifact>>,
  signal: AbortSignal,
): Promise<EncodeResult> {
  signal.throwIfAborted()
  const thread = new Worker(new URL('encode-thread.ts', import.meta.url), {
    workerData: task,
    resourceLimits: { maxOldGenerationSizeMb: threadHeapMb },
    execArgv: ['--disable-warning=ExperimentalWarning'],
  })
  const { promise, resolve, reject } = Promise.withResolvers<EncodeResult>()
  const onAbort = () => reject(new Error('The thread was stopped'))
  signal.addEventListener('abort', onAbort, { once: true })
  thread.on('error', reject)
  thread.once('exit', (code) => reject(new Error(`The thread ended with ${code}`)))
  thread.on('message', (message: FromThread) => {
    if (message.kind !== 'read') return resolve(message)
    answer(images[message.image], message).then((reply) => {
      thread.postMessage(reply, [reply.bytes.buffer])
    }, reject)
  })
  try {
    return await promise
  } finally {
    signal.removeEventListener('abort', onAbort)
    await thread.terminate()
  }
}

async function answer(
  image: OpenArtifact | undefined,
  { id, position, length }: FromThread & { kind: 'read' },
): Promise<ToThread> {
  if (!image) throw new Error('The thread asked for an image that it was not given')
  const bytes = Buffer.from(new ArrayBuffer(length))
  for (let done = 0; done < length;) {
    const got = await image.read(bytes.subarray(done), position + done, length - done)
    if (got === 0) throw new Error('An image is shorter than it was')
    done += got
  }
  return { id, bytes }
}

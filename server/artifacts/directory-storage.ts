import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, rename, rm, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { DomainError } from '../errors.ts'
import { HandleCache } from './handle-cache.ts'
import { HotCache } from './hot-cache.ts'
import type { ArtifactStorage, OpenArtifact, ReceivedBytes } from './storage.ts'

const sha256Pattern = /^[0-9a-f]{64}$/
/** Bytes of an upload between two looks at the room on the disk. */
const lookEveryBytes = 4 * 1024 * 1024

/**
 * Artifacts as files `<directory>/ab/cd/abcd…`. What arrives is written to `<directory>/incoming` first; leftovers
 * there are of a process that died, and are removed here, unless another process has the directory too (`isShared`) and may
 * be writing them. Of the disk, `reserveBytes` are left free.
 */
export async function openDirectoryStorage(
  directory: string,
  reserveBytes = 0,
  isShared = false,
): Promise<ArtifactStorage> {
  const incoming = join(directory, 'incoming')
  if (!isShared) await rm(incoming, { recursive: true, force: true })
  await mkdir(incoming, { recursive: true, mode: 0o700 })
  const pathOf = (sha256: string) => join(directory, sha256.slice(0, 2), sha256.slice(2, 4), sha256)
  const handles = new HandleCache()
  const hot = new HotCache()
  return {
    receive: async (source, { maxBytes }) => {
      const temporary = join(incoming, randomUUID())
      try {
        const received = await writeAll(temporary, source, { maxBytes, reserveBytes })
        return keepable(temporary, pathOf(received.sha256), received)
      } catch (error) {
        await rm(temporary, { force: true })
        throw asStorageError(error)
      }
    },
    open: async (sha256): Promise<OpenArtifact | undefined> => {
      const file = sha256Pattern.test(sha256) ? await handles.open(pathOf(sha256)) : undefined
      return file && hot.wrap(sha256, file)
    },
    [Symbol.asyncDispose]: () => handles[Symbol.asyncDispose](),
  }
}

async function writeAll(
  path: string,
  source: AsyncIterable<Buffer>,
  { maxBytes, reserveBytes }: { maxBytes: number; reserveBytes: number },
): Promise<{ sha256: string; size: number }> {
  await using file = await open(path, 'wx', 0o600)
  const hash = createHash('sha256')
  let size = 0
  let nextLook = 0
  // The next chunk is asked for when this one is written: a slow disk slows the sender down.
  for await (const chunk of source) {
    size += chunk.length
    if (size > maxBytes) {
      throw new DomainError('too-large', `An artifact has at most ${maxBytes} bytes`, { maxBytes })
    }
    if (size >= nextLook) {
      await requireRoom(path, reserveBytes)
      nextLook = size + lookEveryBytes
    }
    hash.update(chunk)
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await file.write(chunk, done)
      done += bytesWritten
    }
  }
  await file.sync()
  return { sha256: hash.digest('hex'), size }
}

function keepable(
  temporary: string,
  path: string,
  { sha256, size }: { sha256: string; size: number },
): ReceivedBytes {
  let kept = false
  return {
    sha256,
    size,
    keep: async () => {
      if (kept) return
      try {
        const made = await mkdir(dirname(path), { recursive: true, mode: 0o700 })
        // The same bytes again replace a file with its equal, which readers do not notice.
        await rename(temporary, path)
        kept = true
        await syncFolders(dirname(path), made ? dirname(made) : dirname(path))
      } catch (error) {
        throw asStorageError(error)
      }
    },
    [Symbol.asyncDispose]: async () => {
      if (!kept) await rm(temporary, { force: true })
    },
  }
}

/** A rename, and a new folder, survive a power cut only when the folders that list them are written. */
async function syncFolders(from: string, upTo: string): Promise<void> {
  for (let folder = from; ; folder = dirname(folder)) {
    await using handle = await open(folder, 'r')
    await handle.sync()
    if (folder === upTo || folder === dirname(folder)) return
  }
}

/** The database, and what keeps the server going, may need the last of the disk. */
async function requireRoom(path: string, reserveBytes: number): Promise<void> {
  if (reserveBytes === 0) return
  const { bavail, bsize } = await statfs(dirname(path))
  if (bavail * bsize < reserveBytes) throw storageFull()
}

function storageFull(cause?: unknown): DomainError {
  return new DomainError('storage-full', 'There is no space left for artifacts', {}, { cause })
}

function asStorageError(error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error
  return storageFull(error)
}

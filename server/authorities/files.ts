import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** The file's bytes (at most `maxBytes`, more is an error), or undefined when there is no such file. */
export async function readOptional(path: string, maxBytes: number): Promise<Buffer | undefined> {
  try {
    const bytes = await readFile(path)
    if (bytes.length > maxBytes) throw new Error(`${path} is larger than ${maxBytes} bytes`)
    return bytes
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

/** Replaces a file so that a crash leaves the old one or the new one, never a part of it. Mode 0600 unless told. */
export async function writeAtomically(
  path: string,
  bytes: Buffer | string,
  mode = 0o600,
): Promise<void> {
  const temporary = await writeTemporary(path, bytes, mode)
  await rename(temporary, path)
  await syncDirectory(dirname(path))
}

/**
 * Makes a file that must not exist, whole or not at all. Returns false when it exists, also when another process made it
 * at the same moment.
 */
export async function createAtomically(
  path: string,
  bytes: Buffer | string,
  mode = 0o600,
): Promise<boolean> {
  const temporary = await writeTemporary(path, bytes, mode)
  try {
    // Unlike rename, link refuses to replace.
    await link(temporary, path)
    await syncDirectory(dirname(path))
    return true
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false
    throw error
  } finally {
    await rm(temporary, { force: true })
  }
}

export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

async function writeTemporary(path: string, bytes: Buffer | string, mode: number): Promise<string> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const file = await open(temporary, 'wx', mode)
  try {
    await file.writeFile(bytes)
    await file.sync()
  } finally {
    await file.close()
  }
  return temporary
}

export async function syncDirectory(path: string): Promise<void> {
  // Not every platform opens directories.
  const directory = await open(path, 'r').catch(() => undefined)
  await directory?.sync().catch(() => {})
  await directory?.close()
}

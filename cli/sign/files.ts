import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'

import { Failure } from '../failure.ts'

/** A small file, at most `maxBytes`; undefined when there is none. */
export function readSmall(path: string, maxBytes: number): string | undefined {
  try {
    const { size } = statSync(path)
    if (size > maxBytes) throw new Failure('file', `${path} is larger than ${maxBytes} bytes`)
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Writes a file that must not exist yet, and waits until it is on the disk. */
export function writeNew(path: string, text: string, mode: number): void {
  const file = openSync(path, 'wx', mode)
  try {
    writeFileSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/** Replaces a file as a whole: after a power cut it is the old one or the new one. */
export function replaceFile(path: string, text: string, mode: number): void {
  const temporary = `${path}.${process.pid}.new`
  rmSync(temporary, { force: true })
  try {
    writeNew(temporary, text, mode)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
  syncDirectory(dirname(path))
}

export function syncDirectory(path: string): void {
  const directory = openSync(path, 'r')
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}

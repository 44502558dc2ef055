import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'

import { maxLine, parseExportLine } from '../pki/audit/export-line.ts'
import type { Told } from '../pki/audit/fork.ts'
import { PkiError } from '../pki/errors.ts'
import { Failure, usageError } from './failure.ts'

export interface Line {
  text: string
  /** Behind its newline, in bytes from the beginning. */
  end: number
  /** False for a last line that breaks off. */
  isWhole: boolean
}

/** The lines of a file, one at a time; a file whose name ends in `.gz` is opened on the way. */
export async function* linesOf(file: string): AsyncGenerator<Line> {
  const handle = await open(file).catch((error: unknown) => {
    throw usageError(`Cannot read ${file}: ${error instanceof Error ? error.message : ''}`)
  })
  const bytes: Readable = handle.createReadStream({ highWaterMark: 256 * 1024 })
  const source = file.endsWith('.gz') ? bytes.pipe(createGunzip()) : bytes
  bytes.once('error', (error) => source.destroy(error))
  let rest: Buffer = Buffer.alloc(0)
  let end = 0
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      let begin = 0
      for (let at = rest.indexOf(10); at !== -1; at = rest.indexOf(10, begin)) {
        end += at + 1 - begin
        yield { text: rest.toString('utf8', begin, at), end, isWhole: true }
        begin = at + 1
      }
      rest = rest.subarray(begin)
      if (rest.length > maxLine)
        throw usageError(`${file} has a line that is too long for an export`)
    }
  } catch (error) {
    if (error instanceof Failure) throw error
    throw new Failure(
      'failed',
      `${file} cannot be read to its end: ${error instanceof Error ? error.message : ''}`,
    )
  } finally {
    bytes.destroy()
  }
  if (rest.length > 0) yield { text: rest.toString('utf8'), end: end + rest.length, isWhole: false }
}

/** What a file tells about each place; what is not a row is left out. */
export async function* rowsOf(file: string): AsyncGenerator<Told> {
  for await (const { text } of linesOf(file)) {
    const line = parsed(text)
    if (line?.kind === 'row') yield line
  }
}

/** How far a file goes: the end of its last whole row, in bytes, and that row's place. */
export async function lastRowOf(
  file: string,
): Promise<{ chainNo: number; end: number } | undefined> {
  let last: { chainNo: number; end: number } | undefined
  for await (const { text, end, isWhole } of linesOf(file)) {
    const line = isWhole ? parsed(text) : undefined
    if (line?.kind === 'row') last = { chainNo: line.chainNo, end }
    // Checkpoints belong to the row before them.
    else if (line?.kind === 'checkpoint' && last) last.end = end
  }
  return last
}

function parsed(text: string): ReturnType<typeof parseExportLine> | undefined {
  try {
    return parseExportLine(text)
  } catch (error) {
    if (error instanceof PkiError) return undefined
    throw error
  }
}

import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'

import { usageError } from './failure.ts'

/** A file to send as it is read. Throws a usage error when it cannot be. */
export async function openCsv(file: string): Promise<{ source: Readable; size: number }> {
  const handle = await open(file).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error)
    throw usageError(`Cannot read ${file}: ${why}`)
  })
  const stat = await handle.stat()
  if (!stat.isFile()) {
    await handle.close()
    throw usageError(`${file} is not a file`)
  }
  // Not more than was announced, should the file grow meanwhile.
  const end = Math.max(0, stat.size - 1)
  return { source: handle.createReadStream({ start: 0, end }), size: stat.size }
}

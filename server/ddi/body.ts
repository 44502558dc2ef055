import type { Request } from 'express'

/** 48 log lines of 2 KiB fit (ddi.md §11). */
const mostBytes = 256 * 1024
/** More than this is no device's log. */
const mostRead = 4 * 1024 * 1024

/**
 * The beginning of a body; what comes after it is read and dropped, because a client that is refused says the same again for ever. Past
 * 4 MiB the connection ends.
 */
export async function bodyOf(req: Request): Promise<Buffer> {
  const parts: Buffer[] = []
  let kept = 0
  let read = 0
  for await (const chunk of req as AsyncIterable<Buffer>) {
    read += chunk.length
    if (read > mostRead) {
      req.socket.destroy()
      break
    }
    if (kept < mostBytes) {
      const part = chunk.subarray(0, mostBytes - kept)
      parts.push(part)
      kept += part.length
    }
  }
  return Buffer.concat(parts)
}

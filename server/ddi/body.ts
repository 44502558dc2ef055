import type { Request, Response } from 'express'

import { readCbor, writeCbor } from './cbor.ts'

/** 48 log lines of 2 KiB fit (ddi.md §11). */
const mostBytes = 256 * 1024
/** More than this is no device's log. */
const mostRead = 4 * 1024 * 1024

const cbor = 'application/cbor'

/**
 * The beginning of a body as JSON text. What was sent as `application/cbor` is read within the same bounds and written as JSON, so that one
 * reader judges both; where it cannot be read there is a sentence in its place, which is no JSON either.
 */
export async function bodyOf(req: Request): Promise<Buffer> {
  const body = await beginningOf(req)
  if (!req.is(cbor)) return body
  const said = readCbor(body)
  return Buffer.from(
    said === undefined ? `CBOR that cannot be read (${body.length} bytes)` : JSON.stringify(said),
  )
}

/**
 * In CBOR where `Accept` prefers that to JSON, else in JSON, whatever is accepted: Zephyr's client says nothing, and nobody is refused
 * for it (ddi.md §1).
 */
export function answer(req: Request, res: Response, body: object): void {
  // Most polls say nothing of it, and are many.
  const asks = /cbor/i.test(req.get('accept') ?? '')
  const preferred = asks && req.accepts(['application/json', 'application/hal+json', cbor])
  if (preferred === cbor) res.type(cbor).send(writeCbor(body))
  else res.json(body)
}

/**
 * The beginning of a body; what comes after it is read and dropped, because a client that is refused says the same again for ever. Past
 * 4 MiB the connection ends.
 */
async function beginningOf(req: Request): Promise<Buffer> {
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

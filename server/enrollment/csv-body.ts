import type { Request } from 'express'

import { DomainError } from '../errors.ts'

/**
 * The body of a request as it arrives, for CSV of at most `maxBytes`. A caller who goes away in the middle ends it with an error,
 * never with a shorter file.
 *
 * @throws DomainError `unsupported-media-type`, `too-large`, `invalid-request`
 */
export async function* csvBody(req: Request, maxBytes: number): AsyncGenerator<Buffer> {
  // A refused upload is not read to its end, so the connection cannot carry another request.
  req.res?.setHeader('Connection', 'close')
  const type = req.get('content-type')?.split(';', 1)[0]?.trim().toLowerCase()
  if (type !== 'text/csv' || (req.get('content-encoding') ?? 'identity') !== 'identity') {
    throw new DomainError(
      'unsupported-media-type',
      'Send the file as it is: Content-Type: text/csv, no Content-Encoding',
    )
  }
  let size = 0
  try {
    // A request without a text encoding set gives buffers.
    for await (const chunk of req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > maxBytes) {
        throw new DomainError('too-large', `The file has more than ${maxBytes} bytes`, { maxBytes })
      }
      yield chunk
    }
  } catch (error) {
    if (error instanceof DomainError) throw error
    throw new DomainError('invalid-request', 'The upload broke off', {}, { cause: error })
  }
  if (!req.complete) throw new DomainError('invalid-request', 'The upload broke off')
  req.res?.removeHeader('Connection')
}

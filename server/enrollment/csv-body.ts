import type { Request } from 'express'

import { DomainError } from '../errors.ts'

/** @throws DomainError `unsupported-media-type` for a type that is not listed, and for anything that is encoded */
export function uploadType<T extends string>(req: Request, types: readonly T[]): T {
  const type = req.get('content-type')?.split(';', 1)[0]?.trim().toLowerCase()
  const known = types.find((one) => one === type)
  if (known !== undefined && (req.get('content-encoding') ?? 'identity') === 'identity')
    return known
  // What is refused is not read to its end, so the connection cannot carry another request.
  req.res?.setHeader('Connection', 'close')
  throw new DomainError(
    'unsupported-media-type',
    `Send the file as it is: Content-Type: ${types.join(' or ')}, no Content-Encoding`,
  )
}

/** CSV of at most `maxBytes`, as it arrives; see `uploadBody`. */
export async function* csvBody(req: Request, maxBytes: number): AsyncGenerator<Buffer> {
  uploadType(req, ['text/csv'])
  yield* uploadBody(req, maxBytes)
}

/**
 * The body of a request as it arrives, of at most `maxBytes`. A caller who goes away in the middle ends it with an error,
 * never with a shorter file.
 *
 * @throws DomainError `too-large`, `invalid-request`
 */
export async function* uploadBody(req: Request, maxBytes: number): AsyncGenerator<Buffer> {
  // A refused upload is not read to its end, so the connection cannot carry another request.
  req.res?.setHeader('Connection', 'close')
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

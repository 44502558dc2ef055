import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'

/** Lower hex. */
export function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** SHA-256 (lower hex) and length in bytes of a file of any size, in constant memory. */
export async function measureFile(path: string): Promise<{ sha256: string; length: number }> {
  const hash = createHash('sha256')
  let length = 0
  await pipeline(createReadStream(path), async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      hash.update(chunk)
      length += chunk.length
    }
  })
  return { sha256: hash.digest('hex'), length }
}

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { request } from 'node:https'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { type RunningServer, startServer } from '../support/server.ts'

/** `FLEETSEAL_UPLOAD_MB=2048` for the size that the product promises; less in everyday runs. */
const megabytes = Number(process.env['FLEETSEAL_UPLOAD_MB'] ?? 384)
const growthLimit = 64 * 1024 * 1024

let server: RunningServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server[Symbol.asyncDispose]())

/** Resident memory of the server's process, bytes. */
function residentBytes(): number {
  const [, kilobytes = '0'] =
    /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${server.pid()}/status`, 'utf8')) ?? []
  return Number(kilobytes) * 1024
}

async function upload(
  mb: number,
): Promise<{ status: number; body: unknown; peak: number; sha256: string }> {
  const block = Buffer.alloc(1024 * 1024, 'fleetseal')
  const hash = createHash('sha256')
  let peak = 0
  const blocks = function* () {
    for (let n = 0; n < mb; n++) {
      block.writeUInt32BE(n)
      hash.update(block)
      peak = Math.max(peak, residentBytes())
      yield Buffer.from(block)
    }
  }
  const call = request(`https://localhost:${server.ports.api}/api/v1/artifacts?name=big.bin`, {
    method: 'PUT',
    ca: await readFile(server.ca),
    headers: {
      Authorization: `Bearer ${await server.apiKey()}`,
      'Content-Type': 'application/octet-stream',
      'Content-Length': mb * 1024 * 1024,
    },
  })
  const answered = Promise.withResolvers<{ status: number; body: unknown }>()
  call.on('error', answered.reject)
  call.on('response', (response) => {
    void Readable.from(response)
      .toArray()
      .then((chunks) =>
        answered.resolve({
          status: response.statusCode ?? 0,
          body: JSON.parse(Buffer.concat(chunks as Buffer[]).toString()),
        }),
      )
  })
  await pipeline(Readable.from(blocks()), call)
  return { ...(await answered.promise), peak, sha256: hash.digest('hex') }
}

test.skipIf(process.platform !== 'linux')(
  `an upload of ${megabytes} MiB grows the server's memory by less than 64 MiB`,
  async () => {
    // The first upload of a server that just started: nothing is warm.
    const before = residentBytes()
    const { status, body, peak, sha256 } = await upload(megabytes)
    expect(status).toBe(201)
    expect(body).toMatchObject({ size: megabytes * 1024 * 1024, sha256 })
    console.log(
      `upload of ${megabytes} MiB: memory grew by ${((peak - before) / 1024 / 1024).toFixed(1)} MiB`,
    )
    expect(peak - before).toBeLessThan(growthLimit)
  },
)

import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { zstdCompressSync } from 'node:zlib'

import { afterEach, beforeAll, describe, expect, test } from 'vitest'

import type { DeviceConfigInput } from '../../../device-sim/config.ts'
import { enrollDevice } from '../../../device-sim/enroll.ts'
import type { DeliveryEntry } from '../../../pki/tuf/types.ts'
import { makeDelta, sha256Of, twoImages } from '../../support/delta-fixture.ts'
import { DeviceBench, firmware } from '../../support/device-bench.ts'

// updates.md section 8, 76 and 90: shorter ways and other places, tried by a whole agent.
const pair = twoImages(150_000)
/** Text, as the builds of the fixture are. */
const old = Buffer.from(pair.old.toString('hex'))
const next = Buffer.from(pair.next.toString('hex'))
const frame = zstdCompressSync(next)
const zstd: DeliveryEntry = { m: 'zstd', length: frame.length, sha256: sha256Of(frame) }
let delta: { bytes: Buffer; entry: DeliveryEntry }
beforeAll(async () => {
  const { bytes, promised } = await makeDelta(old, next)
  const { index, base, length } = promised
  const sha256 = sha256Of(bytes)
  delta = { bytes, entry: { m: 'delta-z1', length, sha256, base: base.sha256, index } }
})

let bench: DeviceBench
const ends: (() => Promise<void>)[] = []
afterEach(async () => {
  await bench[Symbol.asyncDispose]()
  for (const end of ends.splice(0)) await end()
})

async function updated(
  shorter: DeliveryEntry[],
  { files = [delta.bytes, frame], base = old }: { files?: Buffer[]; base?: Buffer } = {},
): Promise<string[]> {
  bench = await DeviceBench.open({ image: next, shorter })
  for (const file of files) bench.server.addArtifact(file)
  await enrollDevice({ ...bench.enrollment(), images: { main: base } })
  await bench.run()
  await bench.untilState('succeeded')
  return fetched()
}

/** SHA-256 of what the device asked its server for, each once, in order. */
function fetched(): string[] {
  const names = bench.server.requests.flatMap(
    ({ url }) => /^\/artifacts\/(\w+)$/.exec(url ?? '')?.[1] ?? [],
  )
  return [...new Set(names)]
}

const fallbacks = () =>
  bench.server.events.flatMap(({ kind, detail = '' }) =>
    kind === 'delivery-fallback' ? [detail] : [],
  )
const untilFallbacks = async (count: number) =>
  await bench.until(() => expect(fallbacks()).toHaveLength(count))

describe('a device that runs the base', () => {
  test('fetches the delta and nothing else', async () => {
    expect(await updated([delta.entry, zstd])).toEqual([delta.entry.sha256])
    expect(delta.bytes.length).toBeLessThan(frame.length / 2)
    expect(fallbacks()).toEqual([])
  })

  test('fetches the zstd image when there is no delta for it', async () => {
    expect(await updated([{ ...delta.entry, base: '0'.repeat(64) }, zstd])).toEqual([zstd.sha256])
  })
})

describe('a device falls back, and says why', () => {
  test('90 when the delta is not to be had, to the next form', async () => {
    expect(await updated([delta.entry, zstd], { files: [frame] })).toEqual([
      delta.entry.sha256,
      zstd.sha256,
    ])
    await untilFallbacks(1)
    expect(fallbacks()[0]).toContain('delta-z1 was not used (http-403)')
  })

  test('90 when neither makes the image, to the image itself', async () => {
    const index = { length: delta.entry.index?.length ?? 0, sha256: '0'.repeat(64) }
    const other = zstdCompressSync(old)
    const entries = [
      { ...delta.entry, index },
      { m: 'zstd', length: other.length, sha256: sha256Of(other) },
    ]
    const asked = await updated(entries, { files: [delta.bytes, other] })
    expect(asked).toEqual([delta.entry.sha256, sha256Of(other), sha256Of(next)])
    await untilFallbacks(2)
    expect(fallbacks()[0]).toContain('(delta-index)')
    expect(fallbacks()[1]).toContain('zstd was not used (hash)')
  })

  test('90 never to a form that is longer than the image', async () => {
    const long = { ...zstd, length: next.length }
    expect(await updated([{ ...delta.entry, length: next.length + 1 }, long])).toEqual([
      sha256Of(next),
    ])
    expect(fallbacks()).toEqual([])
  })
})

/** A mirror that answers so; says what it was asked. */
async function mirror(answer: RequestListener) {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.range ?? ''}`.trim())
    answer(request, response)
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  ends.push(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { url: `http://127.0.0.1:${port}`, asked }
}

const honest: RequestListener = (request, response) => {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
  const range = `bytes ${start}-${firmware.length - 1}/${firmware.length}`
  response.writeHead(start > 0 ? 206 : 200, start > 0 ? { 'content-range': range } : {})
  response.end(firmware.subarray(start))
}
const wrong = Buffer.from(firmware)
wrong[7] = 0

describe('of several mirrors', () => {
  const run = async (mirrors: DeviceConfigInput['mirrors']) => {
    bench = await DeviceBench.open()
    await bench.enroll({ mirrors })
    await bench.run()
    await bench.untilState('succeeded')
  }
  const path = `GET /artifacts/${sha256Of(firmware)}`

  test('76 the first one with the right bytes is enough', async () => {
    const [one, two] = [await mirror(honest), await mirror(honest)]
    await run([{ url: one.url }, { url: two.url }])
    expect([one.asked, two.asked, fetched()]).toEqual([[path], [], []])
    expect(fallbacks()).toEqual([])
  })

  test.each<[string, RequestListener, string]>([
    ['wrong bytes', (_request, response) => void response.end(wrong), 'hash'],
    ['nothing', (_request, response) => void response.writeHead(404).end(), 'http-404'],
    [
      'bytes without end',
      (_request, response) => void response.write(Buffer.concat([firmware, firmware])),
      'endless-data',
    ],
  ])('76 one with %s is passed over for the next', async (_what, answer, code) => {
    const [bad, good] = [await mirror(answer), await mirror(honest)]
    await run([{ url: bad.url }, { url: good.url }])
    expect([bad.asked, good.asked, fetched()]).toEqual([[path], [path], []])
    await untilFallbacks(1)
    expect(fallbacks()[0]).toContain(`${bad.url} was not used (${code})`)
  })

  test('76 that are all of no use, the server is asked in the end', async () => {
    const bad = await mirror((_request, response) => void response.end(wrong))
    await run([{ url: bad.url }, { url: 'http://127.0.0.1:9' }])
    expect(fetched()).toEqual([sha256Of(firmware)])
    await untilFallbacks(2)
  })

  test('76 one that breaks off is continued by the next, byte for byte', async () => {
    const half = await mirror((_request, response) => {
      response.writeHead(200, { 'content-length': firmware.length })
      response.write(firmware.subarray(0, 300_000), () => response.socket?.end())
    })
    const rest = await mirror(honest)
    await run([{ url: half.url }, { url: rest.url }])
    expect(rest.asked).toEqual([expect.stringMatching(/ bytes=[1-9]\d*-$/)])
    expect(fetched()).toEqual([])
  })
})

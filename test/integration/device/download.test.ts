import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { DeviceBench, firmware } from '../../support/device-bench.ts'

let bench: DeviceBench

beforeEach(async () => {
  bench = await DeviceBench.open()
})

afterEach(async () => {
  await bench[Symbol.asyncDispose]()
})

const part = () => join(bench.dir, 'main-b.part')

function ranges(): (string | undefined)[] {
  return bench.server.requests
    .filter(({ url }) => url?.startsWith('/artifacts/'))
    .map(({ headers }) => headers.range)
}

async function runningBuild(): Promise<number | undefined> {
  const hello = bench.server.hellos.at(-1)
  return hello?.installed.find(({ component }) => component === 'main')?.build
}

describe('a download', () => {
  test('that is cut in the middle goes on from there', async () => {
    await bench.enroll()
    let cuts = 0
    bench.server.answerArtifact = (request, response) => {
      if (cuts++ > 0) return bench.server.honestArtifact(request, response)
      response.writeHead(200, { 'content-length': firmware.length })
      response.write(firmware.subarray(0, 300_000), () => response.socket?.destroy())
    }
    await bench.run()
    await bench.untilState('succeeded')
    expect(ranges()).toEqual([undefined, expect.stringMatching(/^bytes=[1-9]\d*-$/)])
    expect(bench.states().filter((state) => state === 'downloading')).toHaveLength(1)
  })

  test('goes on after the device itself was off', async () => {
    await bench.enroll()
    const agent = await bench.run({ bytesPerSecond: 600_000 })
    await bench.until(async () => expect((await stat(part())).size).toBeGreaterThan(200_000))
    await agent.stop()
    const { size } = await stat(part())
    expect(size).toBeLessThan(firmware.length)
    await bench.run()
    await bench.untilState('succeeded')
    expect(ranges()).toEqual([undefined, `bytes=${size}-`])
  })

  test('that was torn on the disk is fetched anew, and is no attack', async () => {
    await bench.enroll()
    const agent = await bench.run({ bytesPerSecond: 600_000 })
    await bench.until(async () => expect((await stat(part())).size).toBeGreaterThan(200_000))
    await agent.stop()
    const bytes = await readFile(part())
    await writeFile(part(), bytes.fill(0, 0, 512))
    await bench.run()
    await bench.untilState('succeeded')
    expect(ranges().at(-1)).toBeUndefined()
  })

  test('is answered whole by a server without ranges', async () => {
    await bench.enroll()
    await writeFile(part(), firmware.subarray(0, 1000))
    bench.server.answerArtifact = (_request, response) => response.writeHead(200).end(firmware)
    await bench.run()
    await bench.untilState('succeeded')
  })

  test('waits while the server is busy', async () => {
    await bench.enroll()
    let tries = 0
    bench.server.answerArtifact = (request, response) => {
      if (tries++ > 1) return bench.server.honestArtifact(request, response)
      response.writeHead(503, { 'retry-after': '0' }).end()
    }
    await bench.run()
    await bench.untilState('succeeded')
    expect(bench.states()).not.toContain('failed')
  })
})

describe('an attack on the download', () => {
  test('68 of bytes without end is stopped at the length of the target', async () => {
    await bench.enroll()
    let sent = 0
    bench.server.answerArtifact = (_request, response) => {
      response.writeHead(200)
      const more = () => {
        sent += firmware.length
        if (!response.destroyed) response.write(firmware, () => setImmediate(more))
      }
      more()
    }
    await bench.run()
    await bench.untilState('failed_final')
    expect(bench.server.reports.at(-1)).toMatchObject({ code: 'endless-data' })
    expect(sent).toBeLessThan(100 * firmware.length)
    await expect(stat(part())).rejects.toThrow('ENOENT')
    expect(await runningBuild()).toBe(400)
  })

  test('72 of other bytes of the same length is refused', async () => {
    await bench.enroll()
    const other = Buffer.from(firmware)
    other[other.length - 1] = 0
    bench.server.answerArtifact = (_request, response) => response.writeHead(200).end(other)
    await bench.run()
    await bench.untilState('failed_final')
    expect(bench.server.reports.at(-1)).toMatchObject({ code: 'hash' })
    expect(await runningBuild()).toBe(400)
  })

  test('75 by dripping is given up and said', async () => {
    await bench.enroll({ minRateBytes: 10_000, minRateWindowMs: 200 })
    bench.server.answerArtifact = (_request, response) => {
      response.writeHead(200)
      const drip = setInterval(() => response.write('x'), 20)
      response.once('close', () => clearInterval(drip))
    }
    await bench.run()
    await bench.untilState('failed_final')
    expect(bench.server.reports.at(-1)).toMatchObject({ code: 'slow' })
  })

  test('of another range than asked for is tried again, not written', async () => {
    await bench.enroll()
    await writeFile(part(), firmware.subarray(0, 1000))
    bench.server.answerArtifact = (_request, response) => {
      response.writeHead(206, {
        'content-range': `bytes 5-${firmware.length - 1}/${firmware.length}`,
      })
      response.end(firmware.subarray(5))
    }
    await bench.run()
    await bench.untilState('failed')
    expect(bench.server.reports.at(-1)).toMatchObject({ code: 'bad-range' })
    expect((await stat(part())).size).toBe(1000)
  })

  test('that refuses a named artifact is reported', async () => {
    await bench.enroll()
    bench.server.artifacts.clear()
    await bench.run()
    await bench.untilState('failed')
    expect(bench.server.reports.at(-1)).toMatchObject({ code: 'http-403' })
  })
})

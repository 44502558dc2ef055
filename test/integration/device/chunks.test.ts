import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import {
  blocksOf,
  type ChunkRequest,
  frameHeaderBytes,
  retryFrame,
} from '../../../server/protocol/chunks.ts'
import { DeviceBench, firmware } from '../../support/device-bench.ts'

// The chunk side of updates.md section 8, 68 to 79: what the device makes of what comes.
let bench: DeviceBench
beforeEach(async () => {
  bench = await DeviceBench.open()
})
afterEach(async () => {
  await bench[Symbol.asyncDispose]()
})

const overMqtt = { delivery: 'mqtt', chunkRepairMs: 100 } as const
const part = () => join(bench.dir, 'main-b.part')
const downloads = () => bench.server.requests.filter(({ url }) => url?.startsWith('/artifacts/'))
const blockOf = (byte: number) => Math.floor(byte / 16_384)

/** The honest server, but for one thing. */
function tamper(change: (frame: Buffer, block: number, request: ChunkRequest) => Buffer[]): void {
  bench.server.answerGet = (request) => {
    for (const block of blocksOf(request)) {
      const frame = bench.server.chunkOf(request, block)
      for (const sent of change(frame, block, request)) bench.server.send('chunk', sent)
    }
  }
}

async function runningBuild(): Promise<number | undefined> {
  const hello = bench.server.hellos.at(-1)
  return hello?.installed.find(({ component }) => component === 'main')?.build
}

describe('a download over MQTT', () => {
  test('brings the image without HTTPS, 128 kB a request', async () => {
    await bench.enroll(overMqtt)
    await bench.run()
    await bench.untilState('succeeded')
    expect(downloads()).toEqual([])
    expect(bench.server.gets).toHaveLength(Math.ceil(firmware.length / 131_072))
  })

  test('asks again by bitmap for what was lost, and for nothing else', async () => {
    await bench.enroll(overMqtt)
    const lost = new Set([1, 4, 5, 11])
    tamper((frame, block) => (lost.delete(block) ? [] : [frame]))
    await bench.run()
    await bench.untilState('succeeded')
    const [first, second, third, fourth] = bench.server.gets
    expect(first).toMatchObject({ o: 0, n: 8 })
    expect(second).toMatchObject({ o: 1, b: '98' })
    expect(third).toMatchObject({ o: 8, n: 8 })
    expect(fourth).toMatchObject({ o: 11, n: 1 })
  })

  test('waits as long as a busy server says', async () => {
    await bench.enroll(overMqtt)
    let tries = 0
    bench.server.answerGet = (request) => {
      if (tries++ > 0) return bench.server.honestChunks(request)
      bench.server.send('chunk', retryFrame(request.f, request.o, 1))
    }
    const agent = await bench.run()
    await bench.untilState('succeeded')
    expect(bench.states()).not.toContain('failed')
    await agent.stop()
  })

  test('goes on after the device was off, and after the server was', async () => {
    await bench.enroll(overMqtt)
    const agent = await bench.run({ bytesPerSecond: 400_000 })
    await bench.until(async () => expect((await stat(part())).size).toBeGreaterThan(200_000))
    await agent.stop()
    const { size } = await stat(part())
    expect(size).toBeLessThan(firmware.length)
    const before = bench.server.gets.length
    await bench.run({ bytesPerSecond: 400_000 })
    await bench.until(() => expect(bench.server.gets.length).toBeGreaterThan(before))
    expect(bench.server.gets[before]?.o).toBe(blockOf(size))
    await bench.server.down()
    await bench.server.up()
    await bench.untilState('succeeded')
    expect(bench.states()).not.toContain('failed')
    expect(bench.server.gets.filter(({ o }) => o === 0)).toHaveLength(1)
  })
})

describe('77: a download that changes its way in mid-file', () => {
  test('from HTTPS to MQTT, when HTTPS is cut off', async () => {
    await bench.enroll({ delivery: 'auto', chunkRepairMs: 100 })
    let tries = 0
    bench.server.answerArtifact = (_request, response) => {
      if (tries++ > 0) return void response.socket?.destroy()
      response.writeHead(200, { 'content-length': firmware.length })
      response.write(firmware.subarray(0, 300_000), () => response.socket?.destroy())
    }
    await bench.run()
    await bench.untilState('succeeded')
    expect(bench.server.gets[0]?.o).toBeGreaterThanOrEqual(blockOf(262_144))
  })

  test('from MQTT to HTTPS, when no more chunks come', async () => {
    await bench.enroll({ delivery: 'auto', chunkRepairMs: 100 })
    bench.server.answerArtifact = (request, response) => {
      if (bench.server.gets.length > 2) return bench.server.honestArtifact(request, response)
      response.socket?.destroy()
    }
    bench.server.answerGet = (request) => {
      if (request.o < 16) bench.server.honestChunks(request)
    }
    await bench.run()
    await bench.untilState('succeeded')
    expect(downloads().at(-1)?.headers.range).toBe(`bytes=${16 * 16_384}-`)
  })

  test('and not when HTTPS works', async () => {
    await bench.enroll({ delivery: 'auto' })
    await bench.run()
    await bench.untilState('succeeded')
    expect(bench.server.gets).toEqual([])
  })

  test('takes what a power cut tore for no attack', async () => {
    await bench.enroll(overMqtt)
    await writeFile(part(), Buffer.alloc(100_000))
    await bench.run()
    await bench.untilState('succeeded')
    expect(bench.server.gets.map(({ o }) => o)).toContain(0)
  })
})

async function ending(state: string, code: string): Promise<void> {
  await bench.untilState(state)
  expect(bench.server.reports.at(-1)).toMatchObject({ code })
  expect(await runningBuild()).toBe(400)
}

describe('chunks that are not what was asked for', () => {
  test('69: longer than the block, are an attack', async () => {
    await bench.enroll(overMqtt)
    tamper((frame, block) => (block === 3 ? [Buffer.concat([frame, Buffer.alloc(1)])] : [frame]))
    await bench.run()
    await ending('failed_final', 'endless-data')
  })

  test('68: beyond the length of the target, are an attack', async () => {
    await bench.enroll(overMqtt)
    const last = blockOf(firmware.length)
    tamper((frame, block) => (block === last ? [Buffer.concat([frame, frame])] : [frame]))
    await bench.run()
    await ending('failed_final', 'endless-data')
  })

  const harmless = async (around: (frame: Buffer) => Buffer[]) => {
    await bench.enroll(overMqtt)
    bench.server.answerGet = (request) => {
      for (const block of blocksOf(request).toReversed()) {
        const frames = around(bench.server.chunkOf(request, block))
        for (const sent of frames) bench.server.send('chunk', sent)
      }
    }
    await bench.run()
    await bench.untilState('succeeded')
    expect(bench.server.gets).toHaveLength(Math.ceil(firmware.length / 131_072))
  }

  test('70: of numbers beyond the file, do no harm', async () => {
    await harmless((frame) => {
      const beyond = Buffer.from(frame)
      beyond.writeUInt32BE(0xff_ff_ff_ff, 6)
      return [beyond, frame]
    })
  })

  test('71: twice and in another order, do no harm', async () => {
    await harmless((frame) => [frame, frame])
  })

  test('74: of another file, do no harm', async () => {
    await harmless((frame) => {
      const foreign = Buffer.from(frame)
      foreign.fill(0, 2, frameHeaderBytes + 9)
      return [foreign, frame]
    })
  })

  test('72: of other bytes, fail the hash', async () => {
    await bench.enroll(overMqtt)
    tamper((frame, block) => {
      if (block === 20) frame[frameHeaderBytes] = 0
      return [frame]
    })
    await bench.run()
    await ending('failed_final', 'hash')
  })
})

describe('chunks that do not come as they should', () => {
  test('73: cut short, are asked for again', async () => {
    await bench.enroll(overMqtt)
    const last = blockOf(firmware.length)
    let cuts = 0
    tamper((frame, block) => [block === last && cuts++ === 0 ? frame.subarray(0, -1) : frame])
    await bench.run()
    await bench.untilState('succeeded')
    expect(bench.server.gets.at(-1)).toMatchObject({ o: last, n: 1 })
  })

  test('75: dripping, are given up and said', async () => {
    await bench.enroll({ ...overMqtt, minRateBytes: 1_000_000, minRateWindowMs: 300 })
    bench.server.answerGet = (request) => {
      bench.server.send('chunk', bench.server.chunkOf(request, request.o))
    }
    await bench.run()
    await ending('failed_final', 'slow')
  })

  test('78: refused, are no attack, and reported', async () => {
    await bench.enroll(overMqtt)
    bench.server.artifacts.clear()
    await bench.run()
    await ending('failed', 'not-allowed')
  })
})

import { readdir, stat } from 'node:fs/promises'
import { Server } from 'node:net'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

import { startFleet } from '../../../device-sim/fleet.ts'
import { handChoice } from '../../../device-sim/inbox.ts'
import { DeviceBench } from '../../support/device-bench.ts'
import { wholeWay } from '../../support/device-life.ts'
import { deviceId } from '../../support/tuf-fixture.ts'

let bench: DeviceBench

beforeEach(async () => {
  bench = await DeviceBench.open()
})

afterEach(async () => {
  await bench[Symbol.asyncDispose]()
})

describe('an honest update', () => {
  test('is verified, downloaded, installed, proven and reported', async () => {
    expect(await bench.enroll()).toBe(deviceId)
    const agent = await bench.run()
    await bench.untilState('succeeded')
    expect(bench.states()).toEqual(wholeWay)
    const main = agent.status()?.installed.find(({ component }) => component === 'main')
    expect(main).toMatchObject({ version: '2.4.1', build: 412 })
    const { hellos, reports } = bench.server
    const [first, second] = hellos
    expect(second?.bootId).not.toBe(first?.bootId)
    expect(hellos.at(-1)?.installed).toContainEqual(main)
    expect(reports.at(-1)).toMatchObject({ sha256: main?.sha256 })
  })

  test('happens without any port being opened', async () => {
    await bench.enroll()
    const listen = vi.spyOn(Server.prototype, 'listen')
    await bench.run()
    await bench.untilState('succeeded')
    expect(listen).not.toHaveBeenCalled()
    listen.mockRestore()
  })

  test('leaves nothing in the directory that others can read', async () => {
    await bench.enroll()
    await bench.run()
    await bench.untilState('succeeded')
    expect((await stat(bench.dir)).mode & 0o777).toBe(0o700)
    for (const name of await readdir(bench.dir)) {
      expect((await stat(join(bench.dir, name))).mode & 0o077, name).toBe(0)
    }
  })

  test('is asked for only as far as the device lacks it', async () => {
    await bench.enroll()
    await bench.run()
    await bench.untilState('succeeded')
    const { hellos } = bench.server
    expect(hellos[0]?.have).toEqual({
      director: { 'root.json': 1 },
      image: { 'root.json': 1 },
      log: { size: 0, proven: [] },
    })
    expect(hellos.at(-1)?.have.image).toMatchObject({ 'fw-gate-2.json': 1, 'targets.json': 1 })
  })
})

describe('the connection', () => {
  test('comes back after the server was gone, and the update goes on', async () => {
    await bench.enroll()
    await bench.run({ bytesPerSecond: 1_000_000 })
    await bench.untilState('downloading')
    await bench.server.down()
    await bench.server.up()
    await bench.untilState('succeeded')
    expect(bench.states().filter((state) => state === 'failed')).toEqual([])
  })

  test('asks again when no answer comes, each time with another nonce', async () => {
    await bench.enroll({ helloRetryMs: 100 })
    bench.server.changeBundle = (bundle) => (bench.server.hellos.length < 3 ? undefined : bundle)
    await bench.run()
    await bench.untilState('succeeded')
    const nonces = bench.server.hellos.map(({ nonce }) => nonce)
    expect(new Set(nonces).size).toBe(nonces.length)
    expect(nonces.length).toBeGreaterThanOrEqual(3)
  })

  test('asks when it is told to, and the same answer twice is no attack', async () => {
    await bench.enroll()
    bench.server.world.wanted = {}
    bench.server.world.publishWanted()
    const agent = await bench.run()
    await bench.until(() => expect(bench.server.hellos).toHaveLength(1))
    bench.server.refresh()
    await bench.until(() => expect(bench.server.hellos).toHaveLength(2))
    bench.server.sendAgain()
    bench.server.refresh()
    await bench.until(() => expect(bench.server.hellos).toHaveLength(3))
    expect(bench.server.events).toEqual([])
    expect(agent.status()?.task).toBeUndefined()
  })

  test('takes no harm from messages that make no sense', async () => {
    await bench.enroll()
    bench.server.changeBundle = (bundle) => {
      for (const text of ['', '{', '[]', '{"command":"erase"}', '\u0000']) {
        bench.server.send('command', Buffer.from(text))
      }
      bench.server.send('bundle', Buffer.from('nonsense'))
      bench.server.send('bundle', Buffer.alloc(100_000, 0x20))
      return bundle
    }
    await bench.run()
    await bench.untilState('succeeded')
    const kinds = new Set(bench.server.events.map(({ kind }) => kind))
    expect([...kinds]).toEqual(['update-refused'])
  })
})

test('a packet without end is not collected: the connection is given up and made anew', async () => {
  await bench.enroll()
  let isFirst = true
  bench.server.changeBundle = (bundle) => {
    if (isFirst) bench.server.send('bundle', Buffer.alloc(4_000_000, 0x20))
    isFirst = false
    return bundle
  }
  const agent = await bench.run()
  let lost = 0
  agent.on('disconnected', () => (lost += 1))
  await bench.untilState('succeeded')
  // Once for this, once for the restart into the new image.
  expect(lost).toBe(2)
  expect(bench.server.events).toEqual([])
})

describe('the directory', () => {
  test('belongs to one agent at a time, and is free again after it', async () => {
    await bench.enroll()
    const agent = await bench.run()
    await expect(bench.agent().start()).rejects.toMatchObject({ code: 'already-running' })
    await agent.stop()
    await bench.run()
  })

  test('takes choices as files: before the start and while it runs', async () => {
    await bench.enroll()
    await handChoice(bench.dir, { choice: 'optOut', onlyThis: false })
    await bench.run()
    await bench.until(() => expect(bench.server.choices).toHaveLength(2))
    expect(bench.states()).toEqual(['offered'])
    await handChoice(bench.dir, { choice: 'accept', onlyThis: false })
    await bench.untilState('succeeded')
    expect(await readdir(join(bench.dir, 'choices'))).toEqual([])
  })
})

test('a fleet of one starts, works and stops', async () => {
  const { config, ...enrollment } = bench.enrollment()
  const { format: _, serialNumber: __, ...rest } = config
  const fleet = await startFleet({ ...enrollment, config: rest, count: 1, spreadMs: 0 })
  await bench.untilState('succeeded')
  expect(fleet.agents).toHaveLength(1)
  await fleet.stop()
})

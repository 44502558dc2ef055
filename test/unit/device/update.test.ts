import { once } from 'node:events'

import { afterEach, describe, expect, test } from 'vitest'

import { deploymentId, DeviceLife, offering, wholeWay } from '../../support/device-life.ts'

let life: DeviceLife

afterEach(async () => {
  await life.powerDown()
})

async function start(options: Parameters<typeof DeviceLife.make>[0] = {}): Promise<void> {
  life = await DeviceLife.make(options)
  await life.powerUp()
}

describe('an update', () => {
  test('goes all the way, in order, and raises the counter', async () => {
    await start()
    await life.day()
    expect(life.states()).toEqual(wholeWay)
    expect(life.build()).toBe(412)
    expect(await life.disk.counters()).toEqual({ main: 42 })
    expect(life.reports.at(-1)).toMatchObject({
      state: 'succeeded',
      commitNonce: expect.any(String),
    })
  })

  test('asked for again when it is done, is not done again', async () => {
    await start()
    await life.day()
    await life.day()
    expect(life.states()).toEqual(wholeWay)
  })

  test('that fails its self-test is rolled back, and the counter stays', async () => {
    await start({ behavior: { failHealth: true } })
    await life.day()
    expect(life.states().slice(-2)).toEqual(['testing', 'rolled_back'])
    expect(life.reports.at(-1)).toMatchObject({ code: 'health' })
    expect(life.build()).toBe(400)
    expect(await life.disk.counters()).toEqual({})
  })

  test('whose slot gives back other bytes is refused for good', async () => {
    await start({ behavior: { corruptSlot: true } })
    await life.day()
    expect(life.reports.at(-1)).toMatchObject({ state: 'failed_final', code: 'hash' })
    expect(life.build()).toBe(400)
  })
})

describe('an update that is not committed', () => {
  test('that the server never commits is rolled back after its time', async () => {
    await start({ config: { commitLimitMs: 60_000 } })
    life.commits = false
    await life.day()
    expect(life.state()).toBe('testing')
    life.pass({ seconds: 59 })
    await life.settle()
    expect(life.state()).toBe('testing')
    life.pass({ seconds: 2 })
    await life.settle()
    expect(life.reports.at(-1)).toMatchObject({ state: 'rolled_back', code: 'no-commit' })
    expect(life.build()).toBe(400)
  })

  test('has more time while the server itself is away, but not for ever', async () => {
    await start({ config: { commitLimitMs: 60_000 } })
    life.commits = false
    await life.day()
    life.serverDown = true
    life.pass({ hours: 23 })
    await life.settle()
    expect(life.state()).toBe('testing')
    life.pass({ hours: 2 })
    await life.settle()
    expect(life.state()).toBe('rolled_back')
  })

  test('that restarts three times without a commit is given up by the bootloader', async () => {
    await start()
    life.commits = false
    await life.day()
    for (const build of [412, 412, 400]) {
      await life.powerDown()
      await life.powerUp()
      await life.settle()
      expect(life.build()).toBe(build)
    }
    expect(life.reports.at(-1)).toMatchObject({ state: 'rolled_back', code: 'boot-failed' })
  })
})

describe('the end of an update', () => {
  test('of what runs already only proves it', async () => {
    await start()
    await life.day()
    life.world.publishWanted({
      change: (signed) =>
        Object.assign(signed, { 'x-deployment': '0192f3c9-10aa-7b41-8f00-5d2c9be1a0f4' }),
    })
    await life.day()
    expect(life.states()).toEqual([...wholeWay, 'testing', 'succeeded'])
  })

  test('a commit for another deployment, or too early, does nothing', async () => {
    await start()
    life.commits = false
    const nonce = 'ab'.repeat(16)
    await life.hello()
    await life.updater.takeCommit(deploymentId, nonce)
    await life.settle()
    await life.updater.takeCommit('0192f3c9-10aa-7b41-8f00-000000000000', nonce)
    await life.settle()
    expect(life.state()).toBe('testing')
    await life.updater.takeCommit(deploymentId, nonce)
    await life.settle()
    expect(life.reports.at(-1)).toMatchObject({ state: 'succeeded', commitNonce: nonce })
  })

  test('a success that the server did not take is told again with its new nonce', async () => {
    await start()
    await life.day()
    const nonce = 'cd'.repeat(16)
    await life.updater.takeCommit(deploymentId, nonce)
    await life.settle()
    expect(life.states()).toEqual([...wholeWay, 'succeeded'])
    expect(life.reports.at(-1)).toMatchObject({ commitNonce: nonce })
  })
})

describe('what is taken back', () => {
  test('before it is installed, is forgotten with its bytes', async () => {
    await start({ world: offering({ change: { class: 'feature' } }) })
    await life.day()
    expect(life.state()).toBe('offered')
    life.world.wanted = {}
    life.world.publishWanted()
    await life.day()
    expect(life.state()).toBeUndefined()
    expect(life.states()).toEqual(['offered'])
  })

  test('once it is being tested, is carried to its end', async () => {
    await start()
    life.commits = false
    await life.day()
    life.world.wanted = {}
    life.world.publishWanted()
    life.commits = true
    await life.day()
    expect(life.states().at(-1)).toBe('succeeded')
  })

  test('while it is being downloaded, stops the download', async () => {
    await start()
    const started = Promise.withResolvers<AbortSignal>()
    life.fetch = async (_disk, _wanted, signal) => {
      started.resolve(signal)
      await once(signal, 'abort')
      return { done: 'stopped' }
    }
    await life.hello()
    const signal = await started.promise
    life.world.wanted = {}
    life.world.publishWanted()
    expect(signal.aborted).toBe(false)
    await life.hello()
    await life.settle()
    expect(signal.aborted).toBe(true)
    expect(life.state()).toBeUndefined()
  })
})

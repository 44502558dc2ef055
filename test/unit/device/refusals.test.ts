import { afterEach, describe, expect, test } from 'vitest'

import { encodeBundle } from '../../../pki/tuf/bundle.ts'
import { DeviceLife, firmware, offering, wholeWay } from '../../support/device-life.ts'
import { deviceId, otherDeviceId, World } from '../../support/tuf-fixture.ts'

let life: DeviceLife

afterEach(async () => {
  await life.powerDown()
})

async function start(options: Parameters<typeof DeviceLife.make>[0] = {}): Promise<void> {
  life = await DeviceLife.make(options)
  await life.powerUp()
}

describe('a download that fails', () => {
  test('is tried five times, with longer and longer waits', async () => {
    await start()
    let tries = 0
    life.fetch = async () => {
      tries += 1
      return { done: 'failed', final: false, code: 'http-403', detail: 'no' }
    }
    await life.day()
    expect(tries).toBe(1)
    for (let round = 0; round < 8; round += 1) {
      life.pass({ hours: 1 })
      await life.settle()
    }
    expect(tries).toBe(5)
    expect(life.states().filter((state) => state === 'failed')).toHaveLength(5)
    expect(life.reports.at(-1)).toMatchObject({ state: 'failed_final', code: 'http-403' })
  })

  test('for a reason that trying again cannot change, is final', async () => {
    await start()
    life.fetch = async () => ({ done: 'failed', final: true, code: 'endless-data', detail: 'more' })
    await life.day()
    expect(life.states().at(-1)).toBe('failed_final')
  })

  test('once, goes on with the next try', async () => {
    await start()
    const honest = life.fetch
    life.fetch = async () => {
      life.fetch = honest
      return { done: 'failed', final: false, code: 'disk', detail: 'full' }
    }
    await life.day()
    life.pass({ hours: 1 })
    await life.settle()
    expect(life.states()).toEqual([...wholeWay.slice(0, 3), 'failed', ...wholeWay.slice(2)])
  })

  test('is not begun by a device that the server does not let in', async () => {
    await start()
    await life.hello()
    life.connected = false
    await life.settle()
    expect(life.state()).not.toBe('succeeded')
    life.connected = true
    await life.settle()
    expect(life.state()).toBe('succeeded')
  })
})

describe('a refusal', () => {
  test('of an image that the image repository does not vouch for ends the deployment', async () => {
    const world = new World()
    world.want(world.addBuild({ content: firmware }))
    world.builds = {}
    world.publishDelegations()
    world.publishFirmware()
    world.publishWanted()
    await start({ world })
    await life.day()
    expect(life.reports).toMatchObject([{ state: 'failed_final', code: 'arbitrary' }])
    expect(life.build()).toBe(400)
  })

  test('of an answer to another question is a security event, and harms nothing', async () => {
    await start({ world: offering({ change: { class: 'feature' } }) })
    await life.day()
    life.world.later(1)
    await life.updater.takeBundle(encodeBundle(life.world.bundle()), ['ab'.repeat(16)])
    await life.settle()
    expect(life.events).toMatchObject([
      { kind: 'update-refused', detail: expect.stringMatching(/^freeze/) },
    ])
    expect(life.state()).toBe('offered')
    expect((await life.choose('accept')).accepted).toBe(true)
    expect(life.state()).toBe('succeeded')
  })

  test('of the same rubbish again and again is said once', async () => {
    await start()
    for (let round = 0; round < 5; round += 1) {
      await life.updater.takeBundle(Buffer.from('{'), ['ab'.repeat(16)])
    }
    await life.settle()
    expect(life.events).toHaveLength(1)
  })

  test('of a bundle for another device is a security event', async () => {
    await start()
    life.world.publishWanted({
      change: (signed) => Object.assign(signed, { 'x-device': otherDeviceId }),
    })
    await life.day()
    expect(life.events).toMatchObject([{ detail: expect.stringMatching(/^wrong-device/) }])
    life.world.publishWanted({
      change: (signed) => Object.assign(signed, { 'x-device': deviceId }),
    })
    await life.day()
    expect(life.state()).toBe('succeeded')
  })

  test('leaves a forged bundle no way to fail an honest deployment', async () => {
    await start({ world: offering({ change: { class: 'feature' } }) })
    await life.day()
    const nonce = 'ab'.repeat(16)
    life.world.later(1)
    life.world.answer({ question: nonce, keys: life.world.director.keys.snapshot })
    await life.updater.takeBundle(encodeBundle(life.world.bundle()), [nonce])
    await life.settle()
    expect(life.state()).toBe('offered')
    expect(life.states()).toEqual(['offered'])
  })
})

test('a late answer, to a question that another has answered, is left unread and refused by nobody', async () => {
  await start({ world: offering({ change: { class: 'feature' } }) })
  await life.day()
  life.world.later(1)
  const nonce = 'cd'.repeat(16)
  life.world.answer({ question: nonce })
  const late = encodeBundle(life.world.bundle())
  await life.updater.takeBundle(late, ['ab'.repeat(16)], [nonce])
  await life.settle()
  expect(life.events).toEqual([])
  expect(life.state()).toBe('offered')
  // The same bytes, where nothing was asked like that, are refused.
  await life.updater.takeBundle(late, ['ab'.repeat(16)])
  await life.settle()
  expect(life.events).toMatchObject([{ detail: expect.stringMatching(/^freeze/) }])
})

test('what answers no question, as a device is told that only listens, is left unread', async () => {
  await start({ world: offering({ change: { class: 'feature' } }) })
  await life.day()
  life.world.later(1)
  life.world.answer({ question: null })
  await life.updater.takeBundle(encodeBundle(life.world.bundle()), ['ab'.repeat(16)])
  await life.settle()
  expect(life.events).toEqual([])
  expect(life.state()).toBe('offered')
})

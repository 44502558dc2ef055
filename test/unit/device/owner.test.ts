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

describe('a yes and a later', () => {
  test('an update with features waits for a yes', async () => {
    await start({ world: offering({ change: { class: 'feature' } }) })
    await life.day()
    life.pass({ hours: 10_000 })
    await life.settle()
    expect(life.state()).toBe('offered')
    await life.choose('accept')
    expect(life.state()).toBe('succeeded')
    expect(life.choices).toMatchObject([{ choice: 'accept' }])
    expect(life.states()).not.toContain('accepted')
  })

  test('a postponement asked for before the offer is used by it, and ends', async () => {
    await start()
    await life.choose('postpone')
    await life.day()
    expect(life.state()).toBe('postponed')
    expect(life.choices).toMatchObject([{ choice: 'postpone', until: expect.any(String) }])
    life.pass({ hours: 71 })
    await life.settle()
    expect(life.state()).toBe('postponed')
    life.pass({ hours: 2 })
    await life.settle()
    expect(life.states()).toEqual(['offered', ...wholeWay])
  })

  test('98 a clock that is set back does not make a postponement longer', async () => {
    await start()
    await life.choose('postpone')
    await life.day()
    life.setClock(new Date('2020-01-01T00:00:00Z'))
    life.world.later(73 * 3600)
    await life.day()
    expect(life.state()).toBe('succeeded')
  })

  test('postponing more often than allowed is refused with the limit', async () => {
    await start({
      world: offering({ change: { postpone: { eachH: 1, graceH: 0, maxCount: 2, totalH: 9 } } }),
    })
    await life.choose('postpone')
    await life.day()
    expect((await life.choose('postpone')).accepted).toBe(true)
    const third = await life.choose('postpone')
    expect(third).toMatchObject({ accepted: false, outcome: expect.stringContaining('2 times') })
    expect(life.choices).toHaveLength(2)
  })
})

describe('an opt-out', () => {
  test('binds until it is taken back, also over a restart', async () => {
    await start()
    await life.choose('optOut')
    await life.day()
    expect(life.state()).toBe('opted_out')
    await life.powerDown()
    await life.powerUp()
    life.pass({ hours: 10_000 })
    await life.day()
    expect(life.state()).toBe('opted_out')
    expect(life.build()).toBe(400)
    await life.choose('optIn')
    expect(life.state()).toBe('succeeded')
    // What stands for all updates names none; what it means for the one on offer names that one.
    expect(life.choices.map(({ choice, deploymentId: id }) => ({ choice, id }))).toEqual([
      { choice: 'optOut' },
      { choice: 'optOut', id: deploymentId },
      { choice: 'optIn' },
    ])
  })

  test('a yes to one release leaves the opt-out standing', async () => {
    await start()
    await life.choose('optOut')
    await life.day()
    await life.choose('accept')
    expect(life.state()).toBe('succeeded')
    expect(life.updater.device.journal.owner.optOut).toBe(true)
  })

  test('a choice without an offer is refused or kept, and one handed in twice counts once', async () => {
    await start()
    expect(await life.choose('accept')).toMatchObject({ accepted: false })
    const request = { id: 'same', choice: 'optOut', onlyThis: false } as const
    await life.updater.takeChoice(request)
    await life.updater.takeChoice(request)
    await life.settle()
    expect(life.choices).toHaveLength(1)
  })

  test('one release can be declined alone', async () => {
    await start({ world: offering({ change: { class: 'feature' } }) })
    await life.day()
    await life.choose('optOut', { onlyThis: true })
    expect(life.state()).toBe('opted_out')
    expect(life.updater.device.journal.owner.optOut).toBe(false)
  })
})

test('a maintenance window is waited for', async () => {
  await start({ world: offering({ change: { window: ['20:00-21:00'] } }) })
  await life.day()
  expect(life.state()).toBe('waiting_window')
  life.pass({ hours: 11, seconds: 60 })
  await life.settle()
  expect(life.state()).toBe('succeeded')
})

import { afterEach, describe, expect, test } from 'vitest'

import { unsafeBecause } from '../../../device-sim/update/conditions.ts'
import { lengthOf, minutesIn } from '../../../device-sim/update/hours.ts'
import type { OwnerRequest } from '../../../device-sim/update/owner.ts'
import type { Policy } from '../../../pki/tuf/types.ts'
import { DeviceLife, offering } from '../../support/device-life.ts'

let life: DeviceLife

afterEach(async () => {
  await life.powerDown()
})

async function start(
  change: Partial<Policy> = {},
  options: Parameters<typeof DeviceLife.make>[0] = {},
): Promise<void> {
  life = await DeviceLife.make({ world: offering({ change }), ...options })
  await life.powerUp()
}

async function conditions(said: unknown): Promise<void> {
  await life.disk.write('conditions.json', Buffer.from(JSON.stringify(said)))
}

async function quiet(spans: string[], zone?: string) {
  const hours = { spans, ...(zone !== undefined && { zone }) }
  const id = `quiet-${spans.join().replaceAll(':', '')}`
  const request: OwnerRequest = { id, choice: 'quiet', onlyThis: false, quiet: hours }
  const result = await life.updater.takeChoice(request)
  await life.settle()
  return result
}

describe('hours', () => {
  test("the owner's come before the model's, in the owner's zone", async () => {
    // It is 09:00 UTC, 10:00 in Berlin.
    await start({ quiet: ['09:00-10:00'] })
    expect(await quiet(['11:00-13:00'], 'Europe/Berlin')).toMatchObject({ accepted: true })
    await life.day()
    expect(life.state()).toBe('waiting_window')
    life.pass({ hours: 1, seconds: 60 })
    await life.settle()
    expect(life.state()).toBe('succeeded')
  })

  test("without the owner's, the model's are waited for; a yes waits for neither", async () => {
    await start({ quiet: ['20:00-21:00'] }, { config: { timeZone: 'UTC' } })
    await life.day()
    expect(life.state()).toBe('waiting_window')
    life.pass({ hours: 10 })
    await life.settle()
    expect(life.state()).toBe('waiting_window')
    life.pass({ hours: 1 })
    await life.settle()
    expect(life.state()).toBe('succeeded')
    await life.powerDown()
    await start({ class: 'feature', quiet: ['20:00-21:00'] }, { config: { timeZone: 'UTC' } })
    await life.day()
    await life.choose('accept')
    expect(life.state()).toBe('succeeded')
  })

  test('after the deadline and 48 hours of grace any moment is good', async () => {
    await start({}, { config: { timeZone: 'UTC' } })
    // In which it is never on.
    await quiet(['00:00-01:00'])
    await life.choose('postpone')
    await life.day()
    const noon = async (hours: number) => {
      life.pass({ hours })
      await life.settle()
    }
    await noon(72)
    expect(life.state()).toBe('waiting_window')
    await noon(336 + 48 - 72 - 24)
    expect(life.state()).toBe('waiting_window')
    await noon(25)
    expect(life.state()).toBe('succeeded')
  })
})

describe('hours that are too short', () => {
  test('100 hours shorter than an installation takes are refused, with how long it takes', async () => {
    await start({}, { config: { installMs: 15 * 60_000 } })
    expect(await quiet(['03:00-03:10'])).toMatchObject({
      accepted: false,
      outcome: expect.stringContaining('an update takes 15 minutes'),
    })
    expect(await quiet(['03:00-03:10', '04:00-06:00'])).toMatchObject({ accepted: false })
    expect(await quiet(['03:00-03:15'])).toMatchObject({ accepted: true })
    expect(await quiet(['03:00-09:00'], 'Mars/Olympus')).toMatchObject({ accepted: false })
    expect(await quiet([])).toMatchObject({ accepted: true })
    await life.day()
    expect(life.state()).toBe('succeeded')
    // Now it is measured.
    expect(life.updater.device.journal.installMs).toBeLessThan(60_000)
  })

  test('100 a maintenance window shorter than that is refused, and the operator sees why', async () => {
    await start({ window: ['09:00-09:01'] })
    await life.day()
    expect(life.state()).toBe('failed_final')
    expect(life.reports.at(-1)).toMatchObject({ state: 'failed_final', code: 'window-too-short' })
    await life.powerDown()
    await start({ window: ['09:00-09:30'] })
    await life.day()
    expect(life.state()).toBe('succeeded')
  })

  test.each([
    ['22:00-06:00', 8 * 60],
    ['09:00-09:15', 15],
    ['09:00-09:00', 0],
    ['nonsense', 0],
  ])('%s lasts %d minutes', (span, minutes) => {
    expect(lengthOf(span)).toBe(minutes * 60_000)
  })

  test('the minute of the day follows the zone through the change of its clocks', () => {
    const berlin = (at: string) => minutesIn(new Date(at), 'Europe/Berlin')
    expect(berlin('2026-10-25T00:30:00Z')).toBe(150)
    expect(berlin('2026-10-25T01:30:00Z')).toBe(150)
    expect(berlin('2026-03-29T01:30:00Z')).toBe(210)
    expect(berlin('2026-12-31T23:30:00Z')).toBe(30)
  })
})

describe('preconditions', () => {
  test('101 a low battery beats the deadline, a yes and an override; charged, it installs', async () => {
    const override = { by: ['key:a', 'key:b'], reason: 'r', until: '2027-11-24T09:00:00Z' }
    await start({ optOut: 'managed', override }, { config: { managed: true } })
    await conditions({ batteryPercent: 12, charging: false })
    await life.day()
    expect(life.state()).toBe('accepted')
    life.pass({ hours: 24 * 30 })
    await life.settle()
    expect(life.state()).toBe('accepted')
    await conditions({ batteryPercent: 12, charging: true })
    life.pass({ seconds: 61 })
    await life.settle()
    expect(life.state()).toBe('succeeded')
  })

  test('101 what is downloaded waits until the device is not in use', async () => {
    await start({ class: 'feature' })
    await life.day()
    const { fetch } = life
    life.fetch = async (...given) => {
      await conditions({ inUse: true })
      return await fetch(...given)
    }
    await life.choose('accept')
    expect(life.state()).toBe('waiting_window')
    await conditions({ inUse: false })
    life.pass({ seconds: 61 })
    await life.settle()
    expect(life.state()).toBe('succeeded')
  })

  const safety = { minBatteryPercent: 30, minTemperatureC: 0, maxTemperatureC: 60 }
  test.each([
    [{}, undefined],
    [{ batteryPercent: 30 }, undefined],
    [{ batteryPercent: 29, charging: true }, undefined],
    [{ batteryPercent: 29 }, 'battery'],
    [{ inUse: true }, 'in use'],
    [{ temperatureC: -1 }, 'cold'],
    [{ temperatureC: 61 }, 'warm'],
    [{ freeBytes: 99 }, 'space'],
    [{ freeBytes: 100 }, undefined],
    ['unreadable' as const, 'cannot tell'],
  ])('%j: %s', (said, why) => {
    const because = unsafeBecause(said, safety, 100)
    if (why === undefined) expect(because).toBeUndefined()
    else expect(because).toContain(why)
  })

  test('a file that cannot be understood stops it, and none does not', async () => {
    await start()
    await conditions({ batteryPercent: 'full' })
    await life.day()
    expect(life.state()).toBe('accepted')
    await life.disk.remove('conditions.json')
    life.pass({ seconds: 61 })
    await life.settle()
    expect(life.state()).toBe('succeeded')
  })
})

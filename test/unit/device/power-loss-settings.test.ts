import { expect, test } from 'vitest'

import { currentSettings } from '../../../device-sim/update/settings.ts'
import { DeviceLife } from '../../support/device-life.ts'
import { losses } from '../../support/memory-disk.ts'
import {
  expectNotLess,
  isFull,
  live,
  liveUntilCut,
  rememberedBy,
} from '../../support/power-loss.ts'
import { Maker } from '../../support/settings-maker.ts'

const zero = { version: '0', build: 0, svn: 0 }
const components = {
  main: { version: '2.4.0', build: 400, svn: 41 },
  config: zero,
  overrides: zero,
  cfgschema: zero,
}
const deployment = '0192f3c9-10aa-7b41-8f00-5d2c9be1a0f4'
const [old, next] = [{ interval: 60 }, { interval: 90 }]

/** A device that runs the first settings and is offered the next. */
async function offered(): Promise<DeviceLife> {
  const maker = new Maker()
  maker.give([maker.vouched('config', { content: JSON.stringify(old) })])
  const life = await DeviceLife.make({ world: maker.world, config: { components } })
  await live(life)
  expect(await currentSettings(life.updater.device)).toEqual(old)
  await life.powerDown()
  maker.give([maker.vouched('config', { content: JSON.stringify(next), build: 2 })], deployment)
  return life
}

/** What would be in force if the device were switched on now. On a copy: the device itself knows nothing of the look. */
async function inForce(life: DeviceLife): Promise<unknown> {
  const copy = life.another()
  await copy.powerUp()
  const settings = await currentSettings(copy.updater.device)
  await copy.powerDown()
  return settings
}

interface Story {
  life: DeviceLife
  day: (life: DeviceLife) => Promise<void>
  state: 'succeeded' | 'rolled_back'
  settings: unknown
}

/** The server takes them, and says so. */
const good = async (): Promise<Story> => {
  return { life: await offered(), day: live, state: 'succeeded', settings: next }
}

/** With them the server is gone; after five minutes the ones before are back. */
const cutOff = async (): Promise<Story> => {
  const day = async (life: DeviceLife) => {
    life.commits = false
    await live(life)
    life.connected = false
    // However often it was switched off in between, each time it waits anew.
    for (let n = 0; n < 3; n += 1) {
      life.pass({ seconds: 310 })
      await life.settle()
    }
    life.connected = true
    await life.day()
  }
  return { life: await offered(), day, state: 'rolled_back', settings: old }
}

async function end({ life, state, settings }: Story, where: string): Promise<void> {
  expect(life.state(), where).toBe(state)
  expect(await currentSettings(life.updater.device), where).toEqual(settings)
  const ended = life.reports.filter((one) =>
    ['succeeded', 'rolled_back', 'failed_final'].includes(one.state),
  )
  expect(new Set(ended.map((one) => one.state)), where).toEqual(new Set([state]))
}

test.each([
  ['that are taken', good],
  ['that cut the device off, and are taken back', cutOff],
])('the plug is pulled at every call of settings %s', async (_what, storyOf) => {
  const first = await storyOf()
  const rehearsal = first.life.another()
  await first.day(rehearsal)
  await end({ ...first, life: rehearsal }, 'without a cut')
  await rehearsal.powerDown()
  const { calls } = rehearsal.disk
  expect(calls).toBeGreaterThan(30)
  for (let cut = 1; cut <= calls + 1; cut += 1) {
    // Anew, or so many days would go by in this world that its metadata expires.
    const story = await storyOf()
    for (const loss of losses.filter((_loss, n) => isFull || n === cut % losses.length)) {
      const life = story.life.another()
      const where = `call ${cut}, ${loss}`
      await liveUntilCut(life, cut, loss, story.day)
      // Whole, whichever they are.
      expect([old, next], where).toContainEqual(await inForce(life))
      const before = await rememberedBy(life)
      await story.day(life)
      expectNotLess(before, await rememberedBy(life))
      await end({ ...story, life }, where)
      await life.powerDown()
    }
  }
})

import { describe, expect, test } from 'vitest'

import { bootDevice, readBootRecord } from '../../../device-sim/update/slots.ts'
import { type DeploymentState, endedStates as ended } from '../../../server/protocol/deployment.ts'
import { DeviceLife } from '../../support/device-life.ts'
import { type Loss, losses } from '../../support/memory-disk.ts'
import {
  expectNotLess,
  isFull,
  live,
  liveUntilCut,
  rememberedBy,
} from '../../support/power-loss.ts'
import { policy, World } from '../../support/tuf-fixture.ts'

const endedStates: readonly DeploymentState[] = ended

/** What must hold whenever power comes back (updates.md section 8). */
async function expectSound(life: DeviceLife): Promise<void> {
  const counters = await life.disk.counters()
  for (const component of Object.keys(life.config.components)) {
    const { active, slots } = await readBootRecord(life.disk, component)
    expect(slots[active]?.bootable).toBe(true)
    const committed = Object.values(slots).filter((slot) => slot?.successful === true)
    const highest = Math.max(...committed.map((slot) => slot?.svn ?? 0))
    expect(highest).toBeGreaterThanOrEqual(counters[component] ?? 0)
  }
  // A set is whole or not there. On a copy, because looking spends a try.
  const running = await bootDevice(life.disk.clone(), Object.keys(life.config.components))
  const builds = [...running.values()].map(({ slot, record }) => record.slots[slot]?.build)
  expect([[400, 205], life.goal]).toContainEqual(builds)
}

interface Story {
  /** What the device has before its day. */
  life: DeviceLife
  state: 'succeeded' | 'rolled_back'
  builds: [number, number]
  counters: Record<string, number>
}

async function expectEnd(life: DeviceLife, story: Story, where: string): Promise<void> {
  expect(life.state(), where).toBe(story.state)
  expect([life.build('main'), life.build('radio')]).toEqual(story.builds)
  expect(await life.disk.counters()).toEqual(story.counters)
  // Said at least once, and nothing else: the server drops what it knows of a deployment already.
  const ends = life.reports.filter(({ state }) => endedStates.includes(state))
  expect(new Set(ends.map(({ state }) => state)), where).toEqual(new Set([story.state]))
}

/** Runs a story with a cut at `first` and, when given, another one so many calls into the recovery. */
async function survive(
  story: Story,
  { first, second, loss }: { first: number; second?: number; loss: Loss },
): Promise<void> {
  const life = story.life.another()
  const where = `call ${first}${second === undefined ? '' : ` and ${second}`}, ${loss}`
  await liveUntilCut(life, first, loss)
  await expectSound(life)
  if (second !== undefined) {
    await liveUntilCut(life, life.disk.calls + second, loss)
    await expectSound(life)
  }
  const before = await rememberedBy(life)
  await live(life)
  expectNotLess(before, await rememberedBy(life))
  await expectEnd(life, story, where)
  await life.powerDown()
}

/** How many calls the day takes when nothing happens. */
async function callsOf(story: Story): Promise<number> {
  const life = story.life.another()
  await live(life)
  await expectEnd(life, story, 'without a cut')
  await life.powerDown()
  return life.disk.calls
}

function offering({ radio }: { radio: boolean }): World {
  const world = new World()
  const requires = radio ? { requires: { radio: 206 } } : {}
  world.want(world.addBuild({ svn: 42, match: requires }))
  if (radio) {
    world.want(world.addBuild({ component: 'radio', version: '1.1.0', build: 206, svn: 7 }))
  }
  world.publishDelegations()
  world.publishFirmware()
  world.publishWanted({
    change: (signed) => Object.assign(signed, { 'x-main': 'main', 'x-policy': policy }),
  })
  return world
}

async function storyOf({ radio = false, fails = false }): Promise<Story> {
  const world = offering({ radio })
  const life = await DeviceLife.make({ world, behavior: fails ? { failHealth: true } : {} })
  const goal: [number, number] = [412, radio ? 206 : 205]
  life.goal = goal
  const raised: Record<string, number> = radio ? { main: 42, radio: 7 } : { main: 42 }
  return fails
    ? { life, state: 'rolled_back', builds: [400, 205], counters: {} }
    : { life, state: 'succeeded', builds: goal, counters: raised }
}

const stories = {
  'an image': {},
  'an image that fails its test': { fails: true },
  'two images that belong together': { radio: true },
  'two images of which one fails its test': { radio: true, fails: true },
}

describe.each(Object.entries(stories))('the plug is pulled in an update of %s', (_, given) => {
  test('at every call that changes something', async () => {
    const story = await storyOf(given)
    const calls = await callsOf(story)
    expect(calls).toBeGreaterThan(50)
    for (let first = 1; first <= calls + 1; first += 1) {
      const chosen = losses.filter((_loss, n) => isFull || n === first % losses.length)
      for (const loss of chosen) await survive(story, { first, loss })
    }
  })

  test('and again while it recovers', async () => {
    const story = await storyOf(given)
    const calls = await callsOf(story)
    const step = isFull ? 3 : 11
    for (let first = 3; first <= calls; first += step) {
      for (let second = 1 + (first % 7); second < 60; second += isFull ? 5 : 29) {
        await survive(story, { first, second, loss: losses[(first + second) % 5] ?? 'drop' })
      }
    }
  })
})

test('a choice that was acknowledged to the owner survives every cut', async () => {
  const day = async (life: DeviceLife) => {
    await life.powerUp()
    const { accepted } = await life.updater.takeChoice({
      id: 'one',
      choice: 'optOut',
      onlyThis: false,
    })
    return accepted
  }
  const rehearsal = await DeviceLife.make()
  const first = rehearsal.disk.calls + 1
  await day(rehearsal)
  await rehearsal.powerDown()
  for (let call = first; call <= rehearsal.disk.calls + 1; call += 1) {
    const life = await DeviceLife.make()
    life.disk.cutAt = call
    const accepted = await day(life).catch(() => false)
    await life.powerDown()
    life.disk.restart('drop')
    await life.powerUp()
    if (accepted) expect(life.updater.device.journal.owner.optOut).toBe(true)
    // It is still in the file it was handed in by, so it is taken again, and counted once.
    await life.updater.takeChoice({ id: 'one', choice: 'optOut', onlyThis: false })
    await life.settle()
    expect(life.choices).toHaveLength(1)
    await life.powerDown()
  }
})

describe('an image that was changed on the disk does not run', () => {
  test('the old one does, while the new one is not committed', async () => {
    const life = await DeviceLife.make()
    life.commits = false
    await live(life)
    expect(life.build()).toBe(412)
    await life.powerDown()
    life.disk.spoil('main-b.img')
    await live(life)
    expect(life.build()).toBe(400)
    expect(life.state()).toBe('rolled_back')
    await life.powerDown()
  })

  test('nothing does, when the other one is older than the anti-rollback counter', async () => {
    const life = await DeviceLife.make()
    await live(life)
    await life.powerDown()
    life.disk.spoil('main-b.img')
    await expect(life.powerUp()).rejects.toThrow('No image of main can run')
  })
})

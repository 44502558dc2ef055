import { describe, expect, test } from 'vitest'

import { readBootRecord } from '../../../device-sim/update/slots.ts'
import { DeviceLife, wholeWay } from '../../support/device-life.ts'
import { policy, World } from '../../support/tuf-fixture.ts'

interface Given {
  /** Of the main image: what it needs of the radio. */
  requires?: Record<string, number>
  radio?: 'wanted' | 'left out'
  svn?: number
  feature?: boolean
}

/** A director that wants a main image and a radio image which belong together. */
function pair({ requires = { radio: 206 }, radio = 'wanted', svn = 7, feature }: Given = {}) {
  const world = new World()
  const main = world.addBuild({ svn: 42, match: { requires } })
  const other = world.addBuild({
    component: 'radio',
    version: '1.1.0',
    build: 206,
    svn,
    ...(feature === true && { match: { class: 'feature' as const, fixes: [] } }),
  })
  world.want(main)
  if (radio === 'wanted') world.want(other)
  world.publishDelegations()
  world.publishFirmware()
  publish(world)
  return world
}

function publish(world: World): void {
  world.publishWanted({
    change: (signed) => Object.assign(signed, { 'x-main': 'main', 'x-policy': policy }),
  })
}

async function live(world: World, options: Parameters<typeof DeviceLife.make>[0] = {}) {
  const life = await DeviceLife.make({ world, ...options })
  await life.powerUp()
  await life.day()
  return life
}

const builds = (life: DeviceLife) => [life.build('main'), life.build('radio')]

describe('images that belong together', () => {
  test('35 requires satisfied in the bundle: both are installed, by one deployment', async () => {
    const life = await live(pair())
    expect(life.states()).toEqual(wholeWay)
    expect(builds(life)).toEqual([412, 206])
    expect(await life.disk.counters()).toEqual({ main: 42, radio: 7 })
    for (const component of ['main', 'radio']) {
      const { active, slots, follows } = await readBootRecord(life.disk, component)
      expect(slots[active]?.successful).toBe(true)
      expect(follows).toBeUndefined()
    }
  })

  test('34 requires missing: the device installs neither and says why', async () => {
    const life = await live(pair({ radio: 'left out' }))
    expect(life.reports.at(-1)).toMatchObject({ state: 'failed_final', code: 'partial-bundle' })
    expect(builds(life)).toEqual([400, 205])
  })

  test('34 honest twin: requires met by what is installed', async () => {
    const life = await live(pair({ requires: { radio: 205 }, radio: 'left out' }))
    expect(life.state()).toBe('succeeded')
    expect(builds(life)).toEqual([412, 205])
  })

  test('36 a component the device lacks: nothing is installed', async () => {
    const world = pair()
    world.want(world.addBuild({ component: 'modem', version: '3.0.0', build: 1 }))
    world.publishFirmware()
    publish(world)
    const life = await live(world)
    expect(life.state()).toBeUndefined()
    expect(life.events.map(({ detail }) => detail?.split(':')[0])).toEqual(['wrong-device'])
    expect(builds(life)).toEqual([400, 205])
  })

  test('45 one component twice: nothing is installed', async () => {
    const world = pair()
    world.want(world.addBuild({ component: 'radio', version: '1.2.0', build: 207 }))
    world.publishFirmware()
    publish(world)
    const life = await live(world)
    expect(life.events.map(({ detail }) => detail?.split(':')[0])).toEqual(['arbitrary'])
    expect(builds(life)).toEqual([400, 205])
  })

  test('45 honest twin: the same two builds listed, one of them wanted', async () => {
    const world = pair()
    world.addBuild({ component: 'radio', version: '1.2.0', build: 207 })
    world.publishFirmware()
    publish(world)
    expect(builds(await live(world))).toEqual([412, 206])
  })

  test('nothing is installed before all of them are whole', async () => {
    const life = await DeviceLife.make({ world: pair() })
    const honest = life.fetch
    life.fetch = async (disk, wanted, signal) =>
      wanted.part.startsWith('radio')
        ? { done: 'failed', final: true, code: 'hash', detail: 'not what it should be' }
        : await honest(disk, wanted, signal)
    await life.powerUp()
    await life.day()
    expect(life.states()).not.toContain('installing')
    expect(life.reports.at(-1)).toMatchObject({ state: 'failed_final', code: 'hash' })
    expect(builds(life)).toEqual([400, 205])
  })
})

describe('images that came together go together', () => {
  test('what fails its test takes the other back with it', async () => {
    const life = await live(pair(), { behavior: { failHealth: true } })
    expect(life.reports.at(-1)).toMatchObject({ state: 'rolled_back', code: 'health' })
    expect(builds(life)).toEqual([400, 205])
    expect(await life.disk.counters()).toEqual({})
    await life.powerDown()
    await life.powerUp()
    expect(builds(life)).toEqual([400, 205])
  })

  test('a slot that gives back other bytes stops both', async () => {
    const life = await live(pair(), { behavior: { corruptSlot: true } })
    expect(life.reports.at(-1)).toMatchObject({ state: 'failed_final', code: 'hash' })
    expect(builds(life)).toEqual([400, 205])
  })

  test('one of them spoiled on the disk before it is committed takes both back at the next boot', async () => {
    const life = await DeviceLife.make({ world: pair() })
    life.commits = false
    await life.powerUp()
    await life.day()
    expect(life.state()).toBe('testing')
    expect(builds(life)).toEqual([412, 206])
    await life.powerDown()
    life.disk.spoil('radio-b.img')
    await life.powerUp()
    expect(builds(life)).toEqual([400, 205])
    await life.settle()
    expect(life.state()).toBe('rolled_back')
  })

  test('a feature that comes along with a fix makes the set wait for a yes', async () => {
    const life = await live(pair({ feature: true }))
    expect(life.state()).toBe('offered')
    await life.choose('accept')
    expect(builds(life)).toEqual([412, 206])
  })

  test('one alone afterwards does not bring back what was rolled back with it', async () => {
    const life = await live(pair(), { behavior: { failHealth: true } })
    expect(life.state()).toBe('rolled_back')
    life.behavior.failHealth = false
    life.world.wanted = {}
    life.world.addBuild({ svn: 42, match: { requires: { radio: 205 } } })
    life.world.want('fw/gate-2/2.4.1/main.bin')
    life.world.publishFirmware()
    life.world.publishWanted({
      change: (signed) =>
        Object.assign(signed, { 'x-deployment': '0192f3c9-10aa-7b41-8f00-5d2c9be1a0f4' }),
    })
    await life.day()
    expect(life.state()).toBe('succeeded')
    expect(builds(life)).toEqual([412, 205])
  })
})

test('an answer that was made before the server heard of the end begins nothing anew', async () => {
  const life = await live(pair())
  const told = life.reports.length
  await life.day()
  expect(life.state()).toBe('succeeded')
  // Nor does one that leaves out what runs already.
  const [main = '', radio = ''] = Object.keys(life.world.wanted)
  const { [radio]: _, ...without } = life.world.wanted
  expect([main, radio].join()).toMatch(/main.*radio/)
  life.world.wanted = without
  publish(life.world)
  await life.day()
  expect(life.state()).toBe('succeeded')
  expect(life.reports).toHaveLength(told)
  // The next one is taken as ever.
  life.pass({ hours: 1 })
  const next = life.world.addBuild({ component: 'radio', version: '1.2.0', build: 207, svn: 7 })
  life.world.publishFirmware()
  life.world.wanted = {}
  life.world.want(next)
  const another = '0192f3c9-10aa-7b41-8f00-5d2c9be1a0f4'
  life.world.publishWanted({
    change: (signed) => Object.assign(signed, { 'x-deployment': another, 'x-policy': policy }),
  })
  await life.day()
  expect(builds(life)).toEqual([412, 207])
})

import { describe, expect, test } from 'vitest'

import { currentSettings } from '../../../device-sim/update/settings.ts'
import { DeviceLife } from '../../support/device-life.ts'
import { Maker } from '../../support/settings-maker.ts'

const zero = { version: '0', build: 0, svn: 0 }
const components = {
  main: { version: '2.4.0', build: 400, svn: 41 },
  config: zero,
  overrides: zero,
  cfgschema: zero,
}
const schema = JSON.stringify({
  type: 'object',
  properties: { interval: { type: 'integer', minimum: 10, maximum: 3_600 } },
})

async function live(maker: Maker): Promise<DeviceLife> {
  const life = await DeviceLife.make({ world: maker.world, config: { components } })
  await life.powerUp()
  await life.day()
  return life
}

const settings = async (life: DeviceLife) => await currentSettings(life.updater.device)
const again = '0192f3c9-10aa-7b41-8f00-5d2c9be1a0f4'

/** A device that has the schema. */
async function withSchema(): Promise<{ life: DeviceLife; maker: Maker }> {
  const maker = new Maker()
  maker.give([maker.vouched('cfgschema', { content: schema })])
  const life = await live(maker)
  expect(life.state()).toBe('succeeded')
  return { life, maker }
}

describe('settings of the fleet', () => {
  test('signed by the maker, hold at once and without a restart', async () => {
    const maker = new Maker()
    maker.give([maker.vouched('config', { content: '{ "interval": 60 }\n' })])
    const life = await live(maker)
    expect(life.states().slice(-3)).toEqual(['rebooting', 'testing', 'succeeded'])
    expect(await settings(life)).toEqual({ interval: 60 })
    const { bootId } = life.updater.device
    maker.give([maker.vouched('config', { content: '{"interval":90}', build: 2 })], again)
    await life.day()
    expect(await settings(life)).toEqual({ interval: 90 })
    expect(life.updater.device.bootId).toBe(bootId)
  })

  test('that the maker did not sign are refused', async () => {
    const maker = new Maker()
    const file = { content: '{"interval":60}' }
    maker.sign('config', { content: '{"interval":61}' })
    const target = maker.targetOf('config', file)
    maker.give([{ path: 'cfg/gate-2/1/config.json', component: 'config', target }])
    const life = await live(maker)
    expect(life.reports.at(-1)).toMatchObject({ state: 'failed_final', code: 'mix-and-match' })
    maker.give([{ path: 'cfg/gate-2/9/config.json', component: 'config', target }], again)
    await life.day()
    expect(life.reports.at(-1)).toMatchObject({ state: 'failed_final', code: 'arbitrary' })
    expect(await settings(life)).toEqual({})
  })

  test('do not go where an image belongs', async () => {
    const maker = new Maker()
    maker.give([maker.vouched('config', { content: '{"interval":60}' }, 'main')])
    const life = await live(maker)
    expect(life.reports.at(-1)).toMatchObject({ state: 'failed_final', code: 'mix-and-match' })
    expect(life.build('main')).toBe(400)
  })

  test('that cut the device off are taken back after five minutes', async () => {
    const maker = new Maker()
    maker.give([maker.vouched('config', { content: '{"interval":60}' })])
    const life = await DeviceLife.make({ world: maker.world, config: { components } })
    life.commits = false
    life.serverDown = true
    await life.powerUp()
    await life.day()
    expect(life.state()).toBe('testing')
    life.pass({ seconds: 290 })
    await life.settle()
    expect(await settings(life)).toEqual({ interval: 60 })
    life.pass({ seconds: 20 })
    await life.settle()
    expect(life.reports.at(-1)).toMatchObject({ state: 'rolled_back', code: 'no-commit' })
    expect(await settings(life)).toEqual({})
  })
})

describe("a device's own settings", () => {
  test('104 within the schema that the maker signed are taken, over those of the fleet', async () => {
    const { life, maker } = await withSchema()
    maker.give([maker.overrides('{"interval":120}')], again)
    await life.day()
    expect(life.state()).toBe('succeeded')
    expect(await settings(life)).toEqual({ interval: 120 })
  })

  test('104 outside of it are refused, and what held before holds', async () => {
    for (const content of ['{"interval":5}', '{"interval":60,"x":1}', '{"interval":"60"}', '[]']) {
      const { life, maker } = await withSchema()
      maker.give([maker.overrides(content)], again)
      await life.day()
      expect(life.reports.at(-1), content).toMatchObject({
        state: 'failed_final',
        code: 'arbitrary',
      })
      expect(await settings(life)).toEqual({})
      await life.powerDown()
      await life.powerUp()
      expect(await settings(life)).toEqual({})
    }
  })

  test('104 before there is a schema are refused; with one in the same bundle they are taken', async () => {
    const maker = new Maker()
    maker.sign('config', { content: '{}' })
    maker.give([maker.overrides('{"interval":120}')])
    const life = await live(maker)
    expect(life.reports.at(-1)).toMatchObject({ state: 'failed_final', code: 'arbitrary' })
    const along = maker.vouched('cfgschema', { content: schema })
    maker.give([maker.overrides('{"interval":120}', 2), along], again)
    await life.day()
    expect(life.state()).toBe('succeeded')
    expect(await settings(life)).toEqual({ interval: 120 })
  })

  test('cannot bring a schema of their own', async () => {
    const maker = new Maker()
    maker.sign('config', { content: '{}' })
    const target = maker.targetOf('cfgschema', { content: schema })
    const forged = { path: 'cfgschema/gate-2/1/cfgschema.json', component: 'cfgschema', target }
    maker.give([maker.overrides('{"interval":120}'), forged])
    const life = await live(maker)
    expect(life.reports.at(-1)).toMatchObject({ state: 'failed_final', code: 'arbitrary' })
    expect(await settings(life)).toEqual({})
  })

  test('are no concern of a device that has none', async () => {
    const maker = new Maker()
    maker.give([maker.overrides('{"interval":120}')])
    const life = await DeviceLife.make({ world: maker.world })
    await life.powerUp()
    await life.day()
    expect(life.events.map(({ detail }) => detail?.split(':')[0])).toEqual(['wrong-device'])
  })
})

import { afterEach, describe, expect, test } from 'vitest'

import type { Policy } from '../../../pki/tuf/types.ts'
import { DeviceLife, offering, wholeWay } from '../../support/device-life.ts'
import { policy } from '../../support/tuf-fixture.ts'

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

/** The same update, and the director says something else about it. */
async function resign(change: Partial<Policy>): Promise<void> {
  life.world.publishWanted({
    change: (signed) => Object.assign(signed, { 'x-policy': { ...policy, ...change } }),
  })
  await life.day()
}

const acts = () => life.updater.device.journal.ledger.map(({ by, act }) => `${by} ${act}`)

describe('by the rules', () => {
  test('91 an untouched device installs a security update unaided', async () => {
    await start()
    await life.day()
    expect(life.states()).toEqual(wholeWay)
    expect(life.choices).toEqual([])
  })

  test('92 an opt-out: told, again every 30 days, not installed after any deadline; opted in, installed', async () => {
    await start()
    await life.choose('optOut')
    await life.day()
    expect(acts()).toEqual(['owner optOut', 'device offered'])
    const told: string[] = []
    life.updater.on('outcome', (text) => told.push(text))
    for (let day = 0; day < 61; day += 1) {
      life.pass({ hours: 24 })
      await life.settle()
    }
    expect(life.state()).toBe('opted_out')
    expect(life.build()).toBe(400)
    expect(told).toHaveLength(2)
    expect(told[0]).toContain('A security update waits for your word: main 2.4.1.')
    await life.choose('optIn')
    expect(life.state()).toBe('succeeded')
  })

  test('92 one tap installs what was opted out of, and the switch stays', async () => {
    await start()
    await life.choose('optOut')
    await life.day()
    await life.choose('accept')
    expect(life.state()).toBe('succeeded')
    expect(life.updater.device.journal.owner.optOut).toBe(true)
  })
})

describe('within bounds', () => {
  test('93 the count and the total: each granted up to the limit and refused one past it', async () => {
    await start({ postpone: { eachH: 24, graceH: 0, maxCount: 3, totalH: 240 } })
    await life.choose('postpone')
    await life.day()
    for (let granted = 1; granted < 3; granted += 1) {
      expect(await life.choose('postpone')).toMatchObject({ accepted: true })
    }
    expect(await life.choose('postpone')).toMatchObject({
      accepted: false,
      outcome: expect.stringContaining('3 times, which is the limit'),
    })
    // The time of the last one is up.
    life.pass({ hours: 25 })
    await life.settle()
    expect(life.state()).toBe('succeeded')
    await life.powerDown()
    await start({ postpone: { eachH: 24, graceH: 0, maxCount: 99, totalH: 30 } })
    await life.choose('postpone')
    await life.day()
    life.pass({ hours: 20 })
    const id = 'one'
    const choice = { id, choice: 'postpone', onlyThis: false } as const
    const start10h = life.world.now.getTime() + 11 * 3_600_000
    const beyond = { ...choice, until: new Date(start10h).toISOString() }
    expect(await life.updater.takeChoice(beyond)).toMatchObject({
      accepted: false,
      outcome: expect.stringContaining('not beyond'),
    })
    expect(await life.updater.takeChoice({ ...choice, id: 'two' })).toMatchObject({
      accepted: true,
    })
    life.pass({ hours: 11 })
    await life.settle()
    expect(life.state()).toBe('succeeded')
  })

  test('94 a feature is never automatic, whatever the director signs and however long it waits', async () => {
    await start({ class: 'feature', auto: true, consent: 'none' })
    await life.day()
    life.pass({ hours: 10_000 })
    await life.settle()
    expect(life.state()).toBe('offered')
    await life.choose('accept')
    expect(life.state()).toBe('succeeded')
  })

  test('98 a clock that is set back makes no postponement longer', async () => {
    await start()
    await life.choose('postpone')
    await life.day()
    life.setClock(new Date('2020-01-01T00:00:00Z'))
    await life.powerDown()
    await life.powerUp()
    life.world.later(71 * 3600)
    await life.day()
    expect(life.state()).toBe('postponed')
    life.world.later(2 * 3600)
    await life.day()
    expect(life.state()).toBe('succeeded')
  })
})

describe('what counts, and what cannot be chosen', () => {
  test('99 the deadline counts from the acknowledged offer, and never moves earlier', async () => {
    await start({ postpone: { eachH: 72, graceH: 0, maxCount: 5, totalH: 100 } })
    await life.choose('postpone')
    await life.hello()
    await life.updater.run()
    const offerOf = () => life.updater.device.journal.offers[0]
    // Shown and not yet known to the server: nothing counts.
    expect(offerOf()?.firstAt).toBeUndefined()
    life.pass({ hours: 50 })
    await life.settle()
    const firstAt = offerOf()?.firstAt ?? 0
    expect(firstAt).toBeGreaterThanOrEqual(life.world.now.getTime() - 60_000)
    const deadline = firstAt + 100 * 3_600_000
    expect(offerOf()?.deadlineAt).toBe(deadline)
    await resign({ urgency: 'normal', postpone: { eachH: 1, graceH: 0, maxCount: 9, totalH: 2 } })
    expect(offerOf()?.deadlineAt).toBe(deadline)
  })

  test('one security update cannot be declined alone, a feature can', async () => {
    await start()
    await life.choose('postpone')
    await life.day()
    const refused = await life.choose('optOut', { onlyThis: true })
    expect(refused).toMatchObject({ accepted: false, outcome: expect.stringContaining('postpone') })
    expect(life.state()).toBe('postponed')
    await life.powerDown()
    await start({ class: 'feature' })
    await life.day()
    expect(await life.choose('optOut', { onlyThis: true })).toMatchObject({ accepted: true })
  })
})

describe('a new advisory about the same update', () => {
  const second = { id: 'FS-2026-099', severity: 'critical', url: '/a/2026-099' }

  test('ends a postponement', async () => {
    await start()
    await life.choose('postpone')
    await life.day()
    // The same advisory in other words is no news.
    await resign({ notice: { text: 'Other words.', sha256: '0'.repeat(64) } })
    expect(life.state()).toBe('postponed')
    await resign({ advisory: second })
    expect(life.state()).toBe('succeeded')
    expect(life.states().slice(0, 2)).toEqual(['offered', 'offered'])
    expect(acts()).toContain('device newAdvisory')
  })

  test('is told to an owner who opted out, and installs nothing', async () => {
    await start()
    await life.choose('optOut')
    await life.day()
    await resign({ advisory: second })
    expect(acts()).toEqual(['owner optOut', 'device offered', 'device newAdvisory'])
    expect(life.state()).toBe('opted_out')
  })
})

describe('an override', () => {
  const override = { by: ['key:a', 'key:b'], reason: 'Worm', until: '2026-11-30T09:00:00Z' }
  const signed = { optOut: 'managed', override } as const

  test('97 signed with stolen director keys does nothing to a consumer device', async () => {
    await start(signed)
    await life.choose('optOut')
    await life.day()
    expect(life.state()).toBe('opted_out')
    expect(life.build()).toBe(400)
  })

  test('97 honest twin: a managed device follows it, once, and its ledger says who and why', async () => {
    await start(signed, { config: { managed: true } })
    await life.choose('optOut')
    await life.day()
    expect(life.state()).toBe('succeeded')
    const entry = life.updater.device.journal.ledger.find(({ act }) => act === 'override')
    expect(entry).toMatchObject({ by: 'operator', detail: 'key:a and key:b: Worm' })
    expect(life.updater.device.journal.owner.optOut).toBe(true)
  })

  test('96 that has expired does nothing on a managed device either', async () => {
    await start(
      { ...signed, override: { ...override, until: '2026-11-23T08:59:59Z' } },
      { config: { managed: true } },
    )
    await life.choose('optOut')
    await life.day()
    expect(life.state()).toBe('opted_out')
  })

  test('beats a postponement and quiet hours', async () => {
    await start(
      { optOut: 'managed' },
      { config: { managed: true, quiet: ['20:00-21:00'], timeZone: 'UTC' } },
    )
    await life.choose('postpone')
    await life.day()
    expect(life.state()).toBe('postponed')
    await resign(signed)
    expect(life.state()).toBe('succeeded')
  })
})

describe('the ledger', () => {
  test('says who chose what and when, with the text that was shown, and survives what may come', async () => {
    const notice = { text: 'Close the door.', sha256: 'ab'.repeat(32) }
    await start({ notice })
    await life.choose('postpone')
    await life.day()
    await life.choose('optOut')
    await life.choose('accept')
    expect(acts()).toEqual([
      'owner postpone',
      'device offered',
      'owner postpone',
      'owner optOut',
      'owner accept',
      'device succeeded',
    ])
    const { ledger } = life.updater.device.journal
    expect(ledger.map(({ no }) => no)).toEqual([1, 2, 3, 4, 5, 6])
    expect(ledger[2]).toMatchObject({
      version: '2.4.1',
      class: 'security',
      advisory: 'FS-2026-017',
      textSha256: notice.sha256,
      until: expect.any(Number),
    })
    // What the server is told says it too.
    expect(life.choices.at(-1)).toMatchObject({ choice: 'accept', textSha256: notice.sha256 })
    await life.powerDown()
    await life.powerUp()
    expect(life.updater.device.journal.ledger).toEqual(ledger)
    expect(life.updater.device.journal.owner.optOut).toBe(true)
  })

  test('is bounded, and what the device did goes before what the owner said', async () => {
    await start()
    await life.choose('optOut')
    await life.day()
    for (let n = 0; n < 410; n += 1) {
      await life.updater.takeChoice({ id: `n-${n}`, choice: 'optOut', onlyThis: false })
    }
    const { ledger } = life.updater.device.journal
    expect(ledger).toHaveLength(400)
    expect(ledger.at(-1)).toMatchObject({ no: 412 })
    expect(ledger.every(({ by }) => by === 'owner')).toBe(true)
  })
})

import { describe, expect, test } from 'vitest'

import { readBootRecord } from '../../../device-sim/update/slots.ts'
import { loadTrusted } from '../../../device-sim/update/trusted.ts'
import type { TrustedState } from '../../../pki/tuf/types.ts'
import { DeviceLife } from '../../support/device-life.ts'
import { type Loss, PowerCut } from '../../support/memory-disk.ts'

/** One day of a device: it wakes, asks, and does what is to be done. */
async function live(life: DeviceLife): Promise<void> {
  await life.powerUp()
  await life.hello()
  await life.settle()
}

/** A day in which the plug is pulled at the given call, and the next one. */
async function liveThroughCut(life: DeviceLife, cutAt: number, loss: Loss): Promise<void> {
  life.disk.cutAt = cutAt
  await live(life).catch((error: unknown) => {
    if (!(error instanceof PowerCut)) throw error
  })
  await life.powerDown()
  life.disk.restart(loss)
  const before = await loadTrusted(life.disk)
  await expectBootable(life)
  await live(life)
  expectNotOlder(before, await loadTrusted(life.disk))
}

/** Always one slot that can run and is what was verified; the active one is never one that was not. */
async function expectBootable(life: DeviceLife): Promise<void> {
  const { active, slots } = await readBootRecord(life.disk, 'main')
  expect(slots[active]?.bootable).toBe(true)
  const counter = (await life.disk.counters())['main'] ?? 0
  const committed = Object.values(slots).filter((slot) => slot?.successful === true)
  expect(Math.max(...committed.map((slot) => slot?.svn ?? 0))).toBeGreaterThanOrEqual(counter)
}

function expectNotOlder(before: TrustedState, after: TrustedState): void {
  expect(after.timeAt ?? '').not.toBe('')
  expect((after.timeAt ?? '') >= (before.timeAt ?? '')).toBe(true)
}

async function countCalls(life: DeviceLife): Promise<{ first: number; last: number }> {
  const first = life.disk.calls + 1
  await live(life)
  await life.powerDown()
  return { first, last: life.disk.calls }
}

const losses: Loss[] = ['drop', 'keep', 'tear']

describe('the plug is pulled at every write of an update', () => {
  test.each(losses)('what was not durable: %s', async (loss) => {
    const { first, last } = await countCalls(await DeviceLife.make())
    expect(last - first).toBeGreaterThan(50)
    for (let call = first; call <= last; call += 1) {
      const life = await DeviceLife.make()
      await liveThroughCut(life, call, loss)
      expect(life.state(), `call ${call}`).toBe('succeeded')
      expect(life.build()).toBe(412)
      expect(life.states()).toContain('succeeded')
      expect(await life.disk.counters()).toEqual({ main: 42 })
      await life.powerDown()
    }
  })

  test.each(losses)('of an image that fails its test: %s', async (loss) => {
    const behavior = { failHealth: true }
    const { first, last } = await countCalls(await DeviceLife.make({ behavior }))
    for (let call = first; call <= last; call += 3) {
      const life = await DeviceLife.make({ behavior })
      await liveThroughCut(life, call, loss)
      expect(life.state(), `call ${call}`).toBe('rolled_back')
      expect(life.build()).toBe(400)
      expect(life.states()).toContain('rolled_back')
      expect(await life.disk.counters()).toEqual({})
      await life.powerDown()
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

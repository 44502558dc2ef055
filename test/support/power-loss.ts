import { expect } from 'vitest'

import { loadTrusted } from '../../device-sim/update/trusted.ts'
import { heldVersions } from '../../pki/tuf/bundle.ts'
import type { DeviceLife } from './device-life.ts'
import { type Loss, PowerCut } from './memory-disk.ts'

/** Every cut with every loss, and more second cuts; the short form takes one loss a cut, by turns. */
export const isFull = process.env['POWER_LOSS'] === 'full'

/** One day of a device: it wakes, asks, and does what is to be done. */
export async function live(life: DeviceLife): Promise<void> {
  await life.powerUp()
  await life.hello()
  await life.settle()
}

/**
 * A day in which the plug is pulled at a call. What a call does happens between two points, so a cut before the next call
 * is the cut after this one.
 */
export async function liveUntilCut(
  life: DeviceLife,
  cutAt: number,
  loss: Loss,
  day: (life: DeviceLife) => Promise<void> = live,
): Promise<void> {
  life.disk.cutAt = cutAt
  await day(life).catch((error: unknown) => {
    if (!(error instanceof PowerCut)) throw error
  })
  await life.powerDown()
  life.disk.restart(loss, cutAt)
}

/** What never falls. */
export interface Remembered {
  versions: ReturnType<typeof heldVersions>
  timeAt: string
  counters: Record<string, number>
}

export async function rememberedBy(life: DeviceLife): Promise<Remembered> {
  const trusted = await loadTrusted(life.disk)
  const counters = await life.disk.counters()
  return { versions: heldVersions(trusted), timeAt: trusted.timeAt ?? '', counters }
}

export function expectNotLess(before: Remembered, after: Remembered): void {
  expect(after.timeAt >= before.timeAt).toBe(true)
  for (const name of ['director', 'image'] as const) {
    for (const [file, version] of Object.entries(before.versions[name])) {
      expect(after.versions[name][file], file).toBeGreaterThanOrEqual(version)
    }
  }
  for (const [component, value] of Object.entries(before.counters)) {
    expect(after.counters[component]).toBeGreaterThanOrEqual(value)
  }
}

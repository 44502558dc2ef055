import { z } from 'zod'

import type { Disk } from '../disk.ts'

/**
 * What the firmware knows about this moment, in `conditions.json` beside the agent's files; it writes the file anew whenever
 * something changes. What it leaves out is not looked at.
 */
const Conditions = z.strictObject({
  batteryPercent: z.number().min(0).max(100).optional(),
  charging: z.boolean().optional(),
  /** Somebody uses the device now: a call, a drive, a press that runs. */
  inUse: z.boolean().optional(),
  temperatureC: z.number().min(-273).max(1_000).optional(),
  freeBytes: z.int().min(0).optional(),
})
/** `unreadable` when there is a file and it cannot be understood. */
export type Conditions = z.infer<typeof Conditions> | 'unreadable'

/** Of `device.json`: bounds that nothing beats, no deadline and no override (updates.md 7.2). */
export const Safety = z.strictObject({
  /** Below it the device must be charging. */
  minBatteryPercent: z.number().min(0).max(100).default(30),
  minTemperatureC: z.number().min(-273).max(1_000).default(0),
  maxTemperatureC: z.number().min(-273).max(1_000).default(60),
})
export type Safety = z.infer<typeof Safety>

const file = 'conditions.json'
const maxBytes = 4_096

export async function readConditions(disk: Disk): Promise<Conditions> {
  try {
    const bytes = await disk.read(file, maxBytes)
    if (!bytes) return {}
    return Conditions.parse(JSON.parse(bytes.toString('utf8')))
  } catch {
    return 'unreadable'
  }
}

/** Why nothing may be downloaded or installed now, in words for the owner; undefined when it may. */
export function unsafeBecause(
  conditions: Conditions,
  safety: Safety,
  neededBytes: number,
): string | undefined {
  // Fails closed: nobody knows whether the battery lasts.
  if (conditions === 'unreadable') return 'the device cannot tell how it is (conditions.json)'
  const { batteryPercent, charging, inUse, temperatureC, freeBytes } = conditions
  const { minBatteryPercent, minTemperatureC, maxTemperatureC } = safety
  if (inUse === true) return 'the device is in use'
  if (batteryPercent !== undefined && batteryPercent < minBatteryPercent && charging !== true) {
    return `the battery is at ${batteryPercent} %; charge it, or wait for ${minBatteryPercent} %`
  }
  if (temperatureC !== undefined && temperatureC < minTemperatureC) {
    return `it is too cold (${temperatureC} degrees, at least ${minTemperatureC})`
  }
  if (temperatureC !== undefined && temperatureC > maxTemperatureC) {
    return `it is too warm (${temperatureC} degrees, at most ${maxTemperatureC})`
  }
  if (freeBytes !== undefined && freeBytes < neededBytes) {
    return `${neededBytes} bytes of space are needed and ${freeBytes} are free`
  }
  return undefined
}

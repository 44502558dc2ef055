import { createHash } from 'node:crypto'

const shortest = 30
const longest = 23 * 3_600 + 59 * 60 + 59

/**
 * How long a device shall sleep before its next poll, in the only form that old clients read (ddi.md §7.10): within a tenth of
 * `seconds` around it, at a place that the device and the hour decide, so that a fleet which was switched on together does
 * not stay together.
 */
export function sleepOf(deviceId: string, seconds: number, now: Date): string {
  const hour = Math.floor(now.getTime() / 3_600_000)
  const digest = createHash('sha256').update(`${deviceId} ${hour}`).digest()
  const jitter = (digest.readUInt32BE() / 2 ** 32) * 0.2 - 0.1
  return formatted(Math.round(seconds * (1 + jitter)))
}

function formatted(seconds: number): string {
  const bounded = Math.min(longest, Math.max(shortest, seconds))
  const parts = [Math.floor(bounded / 3_600), Math.floor(bounded / 60) % 60, bounded % 60]
  return parts.map((part) => String(part).padStart(2, '0')).join(':')
}

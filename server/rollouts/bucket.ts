import { createHash } from 'node:crypto'

const firstBits = 2 ** 52

/**
 * Where a device stands in a rollout, from 0 (with the first) up to but not including 1: the first 52 bits of
 * SHA-256(seed ‖ the 16 bytes of the device's UUID) as a fraction (rollouts.md §2). The same on every process and
 * for ever, and it needs no storage. `store.ts` has the same in SQL; a test holds the two together.
 */
export function bucketOf(seed: Buffer, deviceId: string): number {
  const digest = createHash('sha256')
    .update(seed)
    .update(Buffer.from(deviceId.replaceAll('-', ''), 'hex'))
    .digest()
  return (digest.readUIntBE(0, 6) * 16 + (digest.readUInt8(6) >> 4)) / firstBits
}

/**
 * The number, from 1, of the first phase that admits the bucket; undefined when none does.
 * `percents` are the phases' cumulative shares in order, rising.
 */
export function phaseOf(bucket: number, percents: readonly number[]): number | undefined {
  const index = percents.findIndex((percent) => bucket < percent / 100)
  return index < 0 ? undefined : index + 1
}

import { createHash } from 'node:crypto'

import type { OpenPhase } from '../db/open-phases.ts'

const firstBits = 2 ** 52

/**
 * Where a device stands in a rollout, from 0 (with the first) up to but not including 1: the first 52 bits of
 * SHA-256(seed ‖ the 16 bytes of the device's UUID) as a fraction (rollouts.md §2). The same on every process and
 * for ever, and it needs no storage. `meet-store.ts` has the same in SQL; a test holds the two together.
 */
export function bucketOf(seed: Buffer, deviceId: string): number {
  const digest = createHash('sha256')
    .update(seed)
    .update(Buffer.from(deviceId.replaceAll('-', ''), 'hex'))
    .digest()
  return (digest.readUIntBE(0, 6) * 16 + (digest.readUInt8(6) >> 4)) / firstBits
}

/**
 * The numbers of the open phases that would take a device, in order. It belongs to the first that still has room when it is
 * admitted. `seenAt` is when it was last heard of before now; null for a device whose first contact this is.
 */
export function phasesFor(
  { bucket, seenAt }: { bucket: number; seenAt: Date | null },
  phases: readonly OpenPhase[],
  now: Date,
): number[] {
  return phases
    .filter((phase) => isRecent(seenAt, phase.seen_within_s, now) && takes(phase, bucket))
    .map((phase) => phase.no)
}

function takes(phase: OpenPhase, bucket: number): boolean {
  switch (phase.kind) {
    case 'percent':
      return phase.percent !== null && bucket < phase.percent / 100
    case 'count':
      return phase.count !== null && phase.admitted < phase.count
    case 'cohort':
      return phase.in_cohort
    default:
      // A kind that this version does not know takes nobody.
      phase.kind satisfies never
      return false
  }
}

function isRecent(seenAt: Date | null, withinS: number | null, now: Date): boolean {
  return withinS === null || seenAt === null || seenAt.getTime() >= now.getTime() - withinS * 1_000
}

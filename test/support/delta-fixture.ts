import { createHash } from 'node:crypto'

import { type BlockSizes, encodeDelta, type ImageSource } from '../../server/deltas/encode.ts'
import { type Delta, type DeltaPromise, parseDeltaIndex } from '../../server/protocol/delta-z1.ts'

export function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** The same bytes every time, which do not compress. */
export function noise(seed: string, length: number): Buffer {
  const pieces: Buffer[] = []
  for (let n = 0; n * 32 < length; n++) {
    pieces.push(createHash('sha256').update(`${seed}:${n}`).digest())
  }
  return Buffer.concat(pieces).subarray(0, length)
}

/** Two images that have most in common: some bytes changed here and there, some put in. */
export function twoImages(length = 100_000): { old: Buffer; next: Buffer } {
  const old = noise('image', length)
  const changed = Buffer.from(old)
  for (let at = 500; at < length; at += 9_000) changed.write('changed', at)
  const middle = Math.floor(length / 2)
  const next = Buffer.concat([
    changed.subarray(0, middle),
    noise('new', 700),
    changed.subarray(middle),
  ])
  return { old, next }
}

export function sourceOf(bytes: Buffer): ImageSource {
  return {
    length: bytes.length,
    sha256: sha256Of(bytes),
    read: async (position, length) => bytes.subarray(position, position + length),
  }
}

export interface MadeDelta {
  bytes: Buffer
  promised: DeltaPromise
  delta: Delta
}

export async function makeDelta(
  old: Buffer,
  next: Buffer,
  sizes: BlockSizes = { blockBytes: 16_384, windowBytes: 65_536 },
): Promise<MadeDelta> {
  const frames: Buffer[] = []
  const { index } = await encodeDelta({
    base: sourceOf(old),
    target: sourceOf(next),
    sizes,
    write: async (frame) => void frames.push(frame),
    checkpoint: () => {},
  })
  const bytes = Buffer.concat([index, ...frames])
  const promised = promiseOf(bytes, index.length, { old, next })
  return { bytes, promised, delta: parseDeltaIndex(index, promised) }
}

/** What the director would sign of these bytes. */
export function promiseOf(
  bytes: Buffer,
  indexLength: number,
  { old, next }: { old: Buffer; next: Buffer },
): DeltaPromise {
  return {
    length: bytes.length,
    index: { length: indexLength, sha256: sha256Of(bytes.subarray(0, indexLength)) },
    base: { sha256: sha256Of(old), length: old.length },
    target: { sha256: sha256Of(next), length: next.length },
  }
}

import { createHash } from 'node:crypto'

import {
  type Delta,
  DeltaError,
  decodeDeltaBlock,
  parseDeltaIndex,
  type PlacedBlock,
} from '../../server/protocol/delta-z1.ts'
import { type Disk, removeFile } from '../disk.ts'
import { hashFile } from './slots.ts'
import { type Form, Interruption, type Wanted } from './transfer.ts'

export interface Rebuilding {
  disk: Disk
  wanted: Wanted
  form: Form
  /** The whole delta, as it was fetched. */
  file: string
  onProgress: (percent: number) => void
  signal: AbortSignal
}

/**
 * The new image into the part file, from a `delta-z1` and the image that runs (updates.md section 5.1, and section 4 step 11):
 * the base's hash first, then the index, then block after block, and the hash of all from what the disk gives back. Goes on
 * behind the blocks that are there and right. Holds one block with its frame and window in memory.
 *
 * @throws DeltaError when the delta is of no use here; Interruption when it is stopped
 */
export async function rebuild(rebuilding: Rebuilding): Promise<void> {
  const { disk, wanted, form, onProgress, signal } = rebuilding
  const delta = await openDelta(rebuilding)
  const first = await firstMissing(disk, wanted, delta.blocks)
  for (const [number, block] of delta.blocks.entries()) {
    if (number < first) continue
    if (signal.aborted) throw new Interruption('The rebuilding was stopped')
    await disk.writeAt(wanted.part, await blockOf(rebuilding, block), block.start)
    onProgress(Math.floor(((number + 1) * 100) / delta.blocks.length))
  }
  await disk.fsync(wanted.part)
  await disk.fsyncDir()
  const found = await hashFile(disk, wanted.part)
  if (found.sha256 === wanted.sha256 && found.length === wanted.length) return
  await removeFile(disk, wanted.part)
  throw new DeltaError('delta-hash', `${form.method} makes another image`)
}

async function openDelta({ disk, wanted, form, file }: Rebuilding): Promise<Delta> {
  const { base, index } = form
  if (!base || !index) throw new DeltaError('delta-index', 'The delta says not what it needs')
  const found = await hashFile(disk, base.file)
  if (found.sha256 !== base.sha256 || found.length !== base.length) {
    throw new DeltaError('delta-base', 'The image it is made for is not the one that is there')
  }
  const bytes = await disk.readAt(file, 0, index.length)
  return parseDeltaIndex(bytes, { length: form.length, index, base, target: wanted })
}

/** What is in the part file may be torn, or of another form: only blocks with the right hash count. */
async function firstMissing(
  disk: Disk,
  { part, length }: Wanted,
  blocks: readonly PlacedBlock[],
): Promise<number> {
  const kept = (await disk.size(part)) ?? 0
  if (kept > length) {
    await removeFile(disk, part)
    return 0
  }
  for (const [number, block] of blocks.entries()) {
    if (block.start + block.length > kept) return number
    const bytes = await disk.readAt(part, block.start, block.length)
    if (createHash('sha256').update(bytes).digest('hex') !== block.sha256) return number
  }
  return blocks.length
}

async function blockOf(
  { disk, form, file }: Rebuilding,
  { windowOffset, windowLength, frameAt, frameLength, ...block }: PlacedBlock,
): Promise<Buffer> {
  const window = await disk.readAt(form.base?.file ?? '', windowOffset, windowLength)
  const frame = await disk.readAt(file, frameAt, frameLength)
  return decodeDeltaBlock(frame, window, block)
}

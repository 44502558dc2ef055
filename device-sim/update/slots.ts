import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'

import { z } from 'zod'

import type { Installed } from '../../server/protocol/messages.ts'
import type { Disk } from '../disk.ts'
import { DeviceError } from '../errors.ts'

export type SlotName = 'a' | 'b'

const SlotInfo = z.strictObject({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  length: z.int().min(0),
  version: z.string().min(1).max(64),
  build: z.int().min(0),
  svn: z.int().min(0),
  /** Whole and verified by reading it back, and not found bad since. */
  bootable: z.boolean(),
  /** Has proven itself after a boot; needs no more tries. */
  successful: z.boolean(),
  /** Boots left before the bootloader gives it up. */
  tries: z.int().min(0).max(7),
})
export type SlotInfo = z.infer<typeof SlotInfo>

const BootRecord = z.strictObject({
  sequence: z.int().min(1),
  active: z.enum(['a', 'b']),
  slots: z.strictObject({ a: SlotInfo.optional(), b: SlotInfo.optional() }),
  /**
   * Of a set of images that run together or not at all: while `component` runs the image `sha256`, this one runs from the slot
   * that is not active. So one write, to the record of the one that leads, switches the whole set, and back.
   */
  follows: z
    .strictObject({
      component: z.string().min(1).max(32),
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
    })
    .optional(),
})
/** What the bootloader goes by (updates.md 7.3): one per component. */
export type BootRecord = z.infer<typeof BootRecord>

/** Fixed, so that a copy is overwritten whole and never truncated. */
const recordBytes = 2_048
export const firstTries = 3

export function otherSlot(slot: SlotName): SlotName {
  return slot === 'a' ? 'b' : 'a'
}

export function imageFile(component: string, slot: SlotName): string {
  return `${component}-${slot}.img`
}

/** What arrives for a slot, until it is whole. */
export function partFile(component: string, slot: SlotName): string {
  return `${component}-${slot}.part`
}

/**
 * The newest whole copy of the two. They are written in turn, so that a write torn by a power cut leaves the record as it
 * was before. Throws DeviceError when neither is whole.
 */
export async function readBootRecord(disk: Disk, component: string): Promise<BootRecord> {
  const record = await findBootRecord(disk, component)
  if (!record) {
    throw new DeviceError(
      'damaged',
      `The boot record of ${component} is damaged`,
      'Enroll the device anew',
    )
  }
  return record
}

export async function findBootRecord(
  disk: Disk,
  component: string,
): Promise<BootRecord | undefined> {
  const copies = await Promise.all([0, 1].map((copy) => readCopy(disk, component, copy)))
  return copies
    .filter((record) => record !== undefined)
    .toSorted((one, two) => two.sequence - one.sequence)[0]
}

/** Stores the next state of the record, over the older copy. Returns it with its new sequence number. */
export async function writeBootRecord(
  disk: Disk,
  component: string,
  { active, slots, sequence, follows }: BootRecord,
): Promise<BootRecord> {
  const next: BootRecord = { sequence: sequence + 1, active, slots, ...(follows && { follows }) }
  const text = JSON.stringify(next)
  const line = `${crc32(text).toString(16).padStart(8, '0')} ${text}`
  await disk.setBootFlag(
    copyFile(component, next.sequence % 2),
    Buffer.from(line.padEnd(recordBytes)),
  )
  return next
}

async function readCopy(
  disk: Disk,
  component: string,
  copy: number,
): Promise<BootRecord | undefined> {
  const bytes = await disk.read(copyFile(component, copy), recordBytes)
  const line = bytes?.toString('utf8').trimEnd() ?? ''
  const text = line.slice(9)
  if (line.slice(0, 8) !== crc32(text).toString(16).padStart(8, '0')) return undefined
  try {
    const parsed = BootRecord.safeParse(JSON.parse(text))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}

function copyFile(component: string, copy: number): string {
  return `${component}-boot-${copy}.rec`
}

/** Lower-hex SHA-256 of what is really on the disk, and its length in bytes. */
export async function hashFile(
  disk: Disk,
  name: string,
): Promise<{ sha256: string; length: number }> {
  const hash = createHash('sha256')
  let length = 0
  for await (const piece of disk.chunks(name)) {
    hash.update(piece)
    length += piece.length
  }
  return { sha256: hash.digest('hex'), length }
}

export interface Running {
  slot: SlotName
  record: BootRecord
}

/**
 * The bootloader of a device with several components. A set that was installed together is looked at first: when one of its
 * images is not what was verified, the one that leads it is given up, and with it the set. Throws DeviceError when a
 * component has nothing to run.
 */
export async function bootDevice(
  disk: Disk,
  components: readonly string[],
): Promise<Map<string, Running>> {
  const followers = new Map<string, NonNullable<BootRecord['follows']>>()
  for (const component of components) {
    const { follows } = await readBootRecord(disk, component)
    if (!follows || !components.includes(follows.component)) continue
    followers.set(component, follows)
    await giveUpBrokenSet(disk, component, follows)
  }
  const running = new Map<string, Running>()
  for (const component of components) {
    if (!followers.has(component)) running.set(component, await bootComponent(disk, component))
  }
  for (const [component, follows] of followers) {
    const lead = running.get(follows.component)
    const isLed = lead?.record.slots[lead.slot]?.sha256 === follows.sha256
    const led = isLed ? await bootLed(disk, component) : undefined
    running.set(component, led ?? (await bootComponent(disk, component)))
  }
  return running
}

async function giveUpBrokenSet(
  disk: Disk,
  component: string,
  { component: lead, sha256 }: NonNullable<BootRecord['follows']>,
): Promise<void> {
  const record = await readBootRecord(disk, lead)
  const { active, slots } = record
  const info = slots[active]
  if (info?.sha256 !== sha256 || !info.bootable || info.successful) return
  if (await bootLed(disk, component)) return
  await writeBootRecord(disk, lead, {
    ...record,
    active: otherSlot(active),
    slots: { ...slots, [active]: { ...info, bootable: false, tries: 0 } },
  })
}

async function bootLed(disk: Disk, component: string): Promise<Running | undefined> {
  const record = await readBootRecord(disk, component)
  const slot = otherSlot(record.active)
  const info = record.slots[slot]
  if (!info?.bootable) return undefined
  const { sha256 } = await hashFile(disk, imageFile(component, slot))
  return sha256 === info.sha256 ? { slot, record } : undefined
}

/**
 * The bootloader: runs the active slot when its image is what was verified and it has a try left, or else the other
 * one. A try is spent before the image runs. Throws DeviceError when no slot can run.
 */
async function bootComponent(disk: Disk, component: string): Promise<Running> {
  let record = await readBootRecord(disk, component)
  for (const slot of [record.active, otherSlot(record.active)] as const) {
    const info = record.slots[slot]
    if (!info?.bootable) continue
    const isWhole = (await hashFile(disk, imageFile(component, slot))).sha256 === info.sha256
    if (isWhole && info.successful && record.active === slot) return { slot, record }
    const mayRun = isWhole && (info.successful || info.tries > 0)
    const changed = mayRun ? spent(info) : { ...info, bootable: false, tries: 0 }
    record = await writeBootRecord(disk, component, {
      ...record,
      active: mayRun ? slot : otherSlot(slot),
      slots: { ...record.slots, [slot]: changed },
    })
    if (mayRun) return { slot, record }
  }
  throw new DeviceError(
    'damaged',
    `No image of ${component} can run`,
    'Return the device to its maker',
  )
}

function spent(info: SlotInfo): SlotInfo {
  return info.successful ? info : { ...info, tries: info.tries - 1 }
}

/** What a slot holds, as `hello` tells it. */
export function installedOf(component: string, info: SlotInfo): Installed {
  const { version, build, svn, sha256 } = info
  return { component, version, build, svn, sha256 }
}

import { raiseSvn } from '../../pki/tuf/bundle.ts'
import { removeFile } from '../disk.ts'
import type { Device } from './device.ts'
import type { Task } from './journal.ts'
import { moved } from './report.ts'
import {
  type BootRecord,
  firstTries,
  hashFile,
  imageFile,
  otherSlot,
  partFile,
  type SlotInfo,
  type SlotName,
  writeBootRecord,
} from './slots.ts'

/** Where the task's image goes: not where the device runs from. */
export function spareSlot(device: Device, task: Task): SlotName {
  return task.slot ?? otherSlot(device.running(task.target.component).slot)
}

export async function startInstall(device: Device, task: Task): Promise<void> {
  const slot = spareSlot(device, task)
  await device.store(
    moved(device.journal, { ...task, slot }, { state: 'installing', now: device.now() }),
  )
}

/**
 * The image into its slot, and its hash from what the slot gives back (updates.md section 4, step 11). May be begun
 * again at any point: the slot is marked unfit first and fit only after the hash was right.
 */
export async function install(device: Device, task: Task): Promise<void> {
  const { disk } = device
  const { component, sha256, length } = task.target
  const slot = spareSlot(device, task)
  const image = imageFile(component, slot)
  const part = partFile(component, slot)
  await setSlot(
    device,
    component,
    slot,
    (info) => info && { ...info, bootable: false, successful: false },
  )
  if ((await disk.size(part)) !== undefined) {
    await disk.rename(part, image)
    await disk.fsyncDir()
  }
  if (device.behavior.corruptSlot === true) await flipBit(device, image)
  const found = await hashFile(disk, image)
  if (found.sha256 !== sha256 || found.length !== length) {
    await removeFile(disk, image)
    const detail = `The slot gives back ${found.sha256.slice(0, 16)}, not ${sha256.slice(0, 16)}`
    const failed = { state: 'failed_final' as const, code: 'hash', detail, now: device.now() }
    await device.store(moved(device.journal, { ...task, code: 'hash', detail }, failed))
    return
  }
  await setSlot(device, component, slot, () => freshSlot(task))
  await device.store(
    moved(device.journal, { ...task, slot }, { state: 'installed', now: device.now() }),
  )
}

/** The next boot tries the new image. The flag first: what the journal does not know yet, the bootloader tells it. */
export async function activate(device: Device, task: Task): Promise<void> {
  const { component } = task.target
  const slot = spareSlot(device, task)
  const { record } = device.running(component)
  const info = record.slots[slot]
  if (!info) throw new Error('Nothing is installed there')
  await setRecord(device, component, {
    ...record,
    active: slot,
    slots: { ...record.slots, [slot]: { ...info, tries: firstTries } },
  })
  await device.store(moved(device.journal, task, { state: 'rebooting', now: device.now() }))
}

export async function startTest(device: Device, task: Task): Promise<void> {
  const now = device.now()
  const { sha256 } = task.target
  const testing = { ...task, testingSinceAt: now }
  await device.store(moved(device.journal, testing, { state: 'testing', sha256, now }))
}

/**
 * The new image stays (updates.md 7.3): marked good, then the anti-rollback counter, then the report that ends the task. In this
 * order the counter is never above a committed image, and each part may be done twice.
 */
export async function commit(device: Device, task: Task): Promise<void> {
  const { component, svn, sha256 } = task.target
  const slot = spareSlot(device, task)
  const isRaised = svn > (device.trusted.svn[component] ?? 0)
  const { record } = device.running(component)
  const info = record.slots[slot]
  if (!info) throw new Error('The running slot is unknown')
  const other = otherSlot(slot)
  const old = record.slots[other]
  if (!info.successful || (isRaised && old?.bootable === true)) {
    await setRecord(device, component, {
      ...record,
      slots: {
        ...record.slots,
        [slot]: { ...info, successful: true, tries: 0 },
        // What is older than the counter must never run again.
        ...(old && isRaised && { [other]: { ...old, bootable: false } }),
      },
    })
  }
  if (isRaised) {
    await device.disk.burnCounter(component, svn)
    device.trusted = raiseSvn(device.trusted, component, svn)
  }
  await device.store(succeeded(device, task, sha256))
}

/** `succeeded`, with the proof that the server saw this very image connect. */
export function succeeded(device: Device, task: Task, sha256: string) {
  const { commitNonce } = task
  return moved(device.journal, task, {
    state: 'succeeded',
    sha256,
    ...(commitNonce !== undefined && { commitNonce }),
    now: device.now(),
  })
}

/** Why, then the boot flags; the old image tells the server once it runs. */
export async function rollBack(device: Device, task: Task, code: string): Promise<void> {
  const { component } = task.target
  const slot = spareSlot(device, task)
  await device.store({ ...device.journal, task: { ...task, code } })
  const { record } = device.running(component)
  const info = record.slots[slot]
  await setRecord(device, component, {
    ...record,
    active: otherSlot(slot),
    slots: { ...record.slots, ...(info && { [slot]: { ...info, bootable: false, tries: 0 } }) },
  })
}

export async function reportRolledBack(device: Device, task: Task): Promise<void> {
  const code = task.code ?? 'boot-failed'
  const report = { state: 'rolled_back' as const, code, now: device.now() }
  await device.store(moved(device.journal, { ...task, code }, report))
}

async function setSlot(
  device: Device,
  component: string,
  slot: SlotName,
  change: (info: SlotInfo | undefined) => SlotInfo | undefined,
): Promise<void> {
  const { record } = device.running(component)
  const changed = change(record.slots[slot])
  if (!changed) return
  await setRecord(device, component, { ...record, slots: { ...record.slots, [slot]: changed } })
}

async function setRecord(device: Device, component: string, record: BootRecord): Promise<void> {
  device.noteRecord(component, await writeBootRecord(device.disk, component, record))
}

function freshSlot({ target }: Task): SlotInfo {
  const { sha256, length, version, build, svn } = target
  return { sha256, length, version, build, svn, bootable: true, successful: false, tries: 0 }
}

async function flipBit(device: Device, image: string): Promise<void> {
  for await (const piece of device.disk.chunks(image)) {
    await device.disk.writeAt(image, Buffer.from([(piece[0] ?? 0) ^ 1]), 0)
    return
  }
}

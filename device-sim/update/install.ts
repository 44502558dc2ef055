import { raiseSvn } from '../../pki/tuf/bundle.ts'
import { removeFile } from '../disk.ts'
import type { Device } from './device.ts'
import { type Part, partsOf, type Task, type TaskTarget } from './journal.ts'
import { moved } from './report.ts'
import { settingsProblem } from './settings.ts'
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

/** Where an image of the task goes: not where the device runs from. */
export function spareSlot(device: Device, { target, slot }: Part): SlotName {
  return slot ?? otherSlot(device.running(target.component).slot)
}

export async function startInstall(device: Device, task: Task): Promise<void> {
  const slot = spareSlot(device, task)
  const also = task.also.map((part) => ({ ...part, slot: spareSlot(device, part) }))
  await device.store(
    moved(device.journal, { ...task, slot, also }, { state: 'installing', now: device.now() }),
  )
}

/**
 * Every image of the task into its slot (updates.md section 4, step 11). May be begun again at any point. The slots of those
 * that come with the first one are run only while that one runs, so a set is never half there.
 */
export async function install(device: Device, task: Task): Promise<void> {
  const slot = spareSlot(device, task)
  const lead = task.also.length > 0 ? task.target : undefined
  for (const part of partsOf(task)) {
    const detail = await installPart(device, part, part.target === task.target ? undefined : lead)
    if (detail === undefined) continue
    for (const follower of task.also) await dropFollower(device, follower)
    const failed = { state: 'failed_final' as const, code: 'hash', detail, now: device.now() }
    await device.store(moved(device.journal, { ...task, code: 'hash', detail }, failed))
    return
  }
  const problem = await settingsProblem(device, task)
  if (problem !== undefined) return await refuseSettings(device, task, problem)
  await device.store(
    moved(device.journal, { ...task, slot }, { state: 'installed', now: device.now() }),
  )
}

/** Signed by a key of the server alone, and more than the schema allows: that is an attack. */
async function refuseSettings(device: Device, task: Task, problem: string): Promise<void> {
  for (const follower of task.also) await dropFollower(device, follower)
  const refusal = { code: 'arbitrary', detail: problem.slice(0, 500) }
  const failed = { state: 'failed_final' as const, ...refusal, now: device.now() }
  await device.store(moved(device.journal, { ...task, ...refusal }, failed))
}

/**
 * One image, and its hash from what the slot gives back: the slot is marked unfit first and fit only after the hash was
 * right. Gives what is wrong with it.
 */
async function installPart(
  device: Device,
  { target, slot: chosen }: Part,
  lead: TaskTarget | undefined,
): Promise<string | undefined> {
  const { disk } = device
  const { component, sha256, length } = target
  const slot = spareSlot(device, { target, slot: chosen })
  const image = imageFile(component, slot)
  const part = partFile(component, slot)
  const before = device.running(component).record.slots[slot]
  if (before) {
    await setSlot(device, component, slot, { ...before, bootable: false, successful: false })
  }
  if ((await disk.size(part)) !== undefined) {
    await disk.rename(part, image)
    await disk.fsyncDir()
  }
  if (device.behavior.corruptSlot === true) await flipBit(device, image)
  const found = await hashFile(disk, image)
  if (found.sha256 !== sha256 || found.length !== length) {
    await removeFile(disk, image)
    return `The slot gives back ${found.sha256.slice(0, 16)}, not ${sha256.slice(0, 16)}`
  }
  await setSlot(device, component, slot, freshSlot(target), lead)
  return undefined
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
 * The new images stay (updates.md 7.3): marked good, the one that leads first; then the anti-rollback counters, then the report
 * that ends the task. In this order no counter is ever above a committed image, and each part may be done twice.
 */
export async function commit(device: Device, task: Task): Promise<void> {
  const parts = partsOf(task)
  for (const part of parts) await keepPart(device, part)
  for (const { target } of parts) {
    const { component, svn } = target
    if (svn <= (device.trusted.svn[component] ?? 0)) continue
    await device.disk.burnCounter(component, svn)
    device.trusted = raiseSvn(device.trusted, component, svn)
  }
  await device.store(succeeded(device, task, task.target.sha256))
}

async function keepPart(device: Device, part: Part): Promise<void> {
  const { component, svn } = part.target
  const slot = spareSlot(device, part)
  const isRaised = svn > (device.trusted.svn[component] ?? 0)
  const { record } = device.running(component)
  const info = record.slots[slot]
  if (!info) throw new Error('The running slot is unknown')
  const other = otherSlot(slot)
  const old = record.slots[other]
  const isKept = info.successful && record.active === slot && !record.follows
  if (isKept && !(isRaised && old?.bootable === true)) return
  await setRecord(device, component, {
    sequence: record.sequence,
    active: slot,
    slots: {
      ...record.slots,
      [slot]: { ...info, successful: true, tries: 0 },
      // What is older than the counter must never run again.
      ...(old && isRaised && { [other]: { ...old, bootable: false } }),
    },
  })
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

/** Why, then the boot flags, which take back the whole set; the old image tells the server once it runs. */
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
  for (const part of task.also) await dropFollower(device, part)
  const code = task.code ?? 'boot-failed'
  const report = { state: 'rolled_back' as const, code, now: device.now() }
  await device.store(moved(device.journal, { ...task, code }, report))
}

/** What came with an image that did not stay must not come back with it. */
async function dropFollower(device: Device, part: Part): Promise<void> {
  const { component } = part.target
  const slot = spareSlot(device, part)
  const { record } = device.running(component)
  const info = record.slots[slot]
  if (!record.follows || !info || record.active === slot) return
  await setSlot(device, component, slot, { ...info, bootable: false, tries: 0 })
}

/** With `lead`: run only while that image runs. */
async function setSlot(
  device: Device,
  component: string,
  slot: SlotName,
  info: SlotInfo,
  lead?: TaskTarget,
): Promise<void> {
  const { sequence, active, slots } = device.running(component).record
  await setRecord(device, component, {
    sequence,
    active,
    slots: { ...slots, [slot]: info },
    ...(lead && { follows: { component: lead.component, sha256: lead.sha256 } }),
  })
}

async function setRecord(device: Device, component: string, record: BootRecord): Promise<void> {
  device.noteRecord(component, await writeBootRecord(device.disk, component, record))
}

function freshSlot({ sha256, length, version, build, svn }: TaskTarget): SlotInfo {
  return { sha256, length, version, build, svn, bootable: true, successful: false, tries: 0 }
}

async function flipBit(device: Device, image: string): Promise<void> {
  for await (const piece of device.disk.chunks(image)) {
    await device.disk.writeAt(image, Buffer.from([(piece[0] ?? 0) ^ 1]), 0)
    return
  }
}

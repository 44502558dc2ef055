import type { VerifiedBundle, VerifiedTarget } from '../../pki/tuf/types.ts'
import { mayMove, openStates } from '../../server/protocol/deployment.ts'
import { removeFile } from '../disk.ts'
import type { Device } from './device.ts'
import { type Journal, queued, Task, type TaskPolicy, type TaskTarget } from './journal.ts'
import { moved, reportOf, securityEvent } from './report.ts'
import { partFile } from './slots.ts'
import type { RefusedBundle } from './verify.ts'

/** Whether the server may still take the task back: nothing has been written to a slot. */
export function isStoppable({ state }: Task): boolean {
  return mayMove(state, 'cancelled', 'engine')
}

/** Whether there is still something to do about it. */
export function isOpen({ state }: Task): boolean {
  return openStates.includes(state)
}

/**
 * Takes over what the director wants now: a new task, the same one with its newest policy, or none. What is being installed
 * is carried to its end first. Stored in one write.
 */
export async function adopt(device: Device, verified: VerifiedBundle): Promise<void> {
  const { task } = device.journal
  const isBusy = task !== undefined && isOpen(task) && !isStoppable(task)
  if (isBusy) return
  const { targets, deploymentId } = verified
  const [target] = targets
  if (!target) return await withdraw(device, task)
  if (deploymentId === undefined) {
    device.log('An update without a deployment is ignored', { path: target.path })
    return
  }
  if (targets.length > 1) return await refuseSeveral(device, deploymentId)
  const wanted = targetOf(target)
  const policy = policyOf(verified, target)
  if (task?.deploymentId === deploymentId && task.target.sha256 === wanted.sha256) {
    if (isOpen(task)) await device.store({ ...device.journal, task: { ...task, policy } })
    return
  }
  const parsed = Task.safeParse({ deploymentId, state: 'queued', target: wanted, policy })
  if (!parsed.success) {
    // Signed, and still nothing this device could keep or report about.
    const detail = `arbitrary: ${parsed.error.issues[0]?.path.join('.')} is not usable`
    const event = { kind: 'update-refused', detail, now: device.now() }
    return await device.store(securityEvent(device.journal, event))
  }
  if (task && task.target.sha256 !== wanted.sha256) await removeParts(device, task)
  await device.store(newTask(device, parsed.data))
}

/** A refusal of what this deployment asks for ends it; one that belongs to none is a security event. */
export function refused(journal: Journal, refusal: RefusedBundle, now: number): Journal {
  const { code, detail, deploymentId } = refusal
  const { task } = journal
  const isTask = task?.deploymentId === deploymentId
  const isTooLate = task !== undefined && isTask && !(isOpen(task) && isStoppable(task))
  if (deploymentId === undefined || isTooLate) {
    return securityEvent(journal, { kind: 'update-refused', detail: `${code}: ${detail}`, now })
  }
  const failed = { state: 'failed_final' as const, code, detail, now }
  if (task && isTask) return moved(journal, { ...task, code, detail: detail.slice(0, 500) }, failed)
  return queued(journal, { leaf: 'report', body: reportOf(deploymentId, failed) })
}

async function withdraw(device: Device, task: Task | undefined): Promise<void> {
  if (!task || !isOpen(task)) return
  await removeParts(device, task)
  const { task: _, ...rest } = device.journal
  await device.store(rest)
}

/** One device-wide release at a time in this version; the parts of a set would each need their slot. */
async function refuseSeveral(device: Device, deploymentId: string): Promise<void> {
  const detail = 'This device installs one image at a time'
  const failed = {
    state: 'failed_final' as const,
    code: 'several-targets',
    detail,
    now: device.now(),
  }
  const body = reportOf(deploymentId, failed)
  const isKnown = device.journal.queue.some(
    (entry) => entry.leaf === 'report' && entry.body.deploymentId === deploymentId,
  )
  if (!isKnown) await device.store(queued(device.journal, { leaf: 'report', body }))
}

function newTask(device: Device, task: Task): Journal {
  const { target } = task
  const { slot, record } = device.running(target.component)
  if (record.slots[slot]?.sha256 !== target.sha256) return { ...device.journal, task }
  // It runs already: all that is left is to prove it.
  const now = device.now()
  return moved(
    device.journal,
    { ...task, slot, testingSinceAt: now },
    { state: 'testing', sha256: target.sha256, now },
  )
}

async function removeParts(device: Device, { target: { component } }: Task): Promise<void> {
  for (const slot of ['a', 'b'] as const) await removeFile(device.disk, partFile(component, slot))
}

function targetOf({ path, component, length, sha256, match }: VerifiedTarget): TaskTarget {
  const { build, svn, version = String(build), fixes = [] } = match
  return { path, component, version, build, svn, length, sha256, fixes }
}

/** The class is the one signed offline: the director must not dress a feature as a fix (updates.md 2.3). */
function policyOf({ policy }: VerifiedBundle, { match }: VerifiedTarget): TaskPolicy {
  if (!policy) {
    const auto = match.class !== 'feature'
    return {
      class: match.class,
      auto,
      consent: auto ? 'none' : 'install',
      optOut: 'honored',
      urgency: 'normal',
      window: [],
    }
  }
  const { auto, consent, optOut, urgency, window, postpone, advisory } = policy
  return {
    class: match.class,
    auto,
    consent,
    optOut,
    urgency,
    window,
    ...(postpone && { postpone }),
    ...(advisory && { advisory }),
  }
}

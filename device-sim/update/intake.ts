import { decodeEnvelope } from '../../pki/tuf/envelope.ts'
import { isObject } from '../../pki/tuf/shape.ts'
import type { ReleaseClass, VerifiedBundle, VerifiedTarget } from '../../pki/tuf/types.ts'
import { mayMove, openStates } from '../../server/protocol/deployment.ts'
import { classOfSet } from '../../server/protocol/release-class.ts'
import { removeFile } from '../disk.ts'
import { withDeadline } from './choice.ts'
import type { Device } from './device.ts'
import {
  Task,
  offerOf,
  partsOf,
  queued,
  type Journal,
  type TaskPolicy,
  type TaskTarget,
  withOffer,
} from './journal.ts'
import { isNewAdvisory, withAdvisory } from './notices.ts'
import { moved, reportOf, securityEvent } from './report.ts'
import { partFile } from './slots.ts'
import type { RefusedBundle } from './verify.ts'

const maxFileBytes = 65_536

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
  const target = mainOf(verified)
  if (!target) return await withdraw(device, task)
  if (deploymentId === undefined) {
    device.log('An update without a deployment is ignored', { path: target.path })
    return
  }
  const policy = policyOf(verified, classOfSet(targets.map(({ match }) => match.class)))
  const also = targets
    .filter((one) => one !== target && !runs(device, one))
    .map((one) => ({ target: targetOf(one) }))
  const wanted = { target: targetOf(target), also, all: targets }
  if (task?.deploymentId === deploymentId && isSameSet(device, task, wanted)) {
    if (isOpen(task)) await renewPolicy(device, task, policy)
    return
  }
  const parsed = Task.safeParse({
    deploymentId,
    state: 'queued',
    target: wanted.target,
    also,
    policy,
  })
  if (!parsed.success) {
    // Signed, and still nothing this device could keep or report about.
    const detail = `arbitrary: ${parsed.error.issues[0]?.path.join('.')} is not usable`
    const event = { kind: 'update-refused', detail, now: device.now() }
    return await device.store(securityEvent(device.journal, event))
  }
  if (task && !isSameSet(device, task, wanted)) await removeParts(device, task)
  await device.store(newTask(device, parsed.data))
}

/** The director may say more about the same update: never a nearer deadline, and a new advisory is news to the owner. */
async function renewPolicy(device: Device, task: Task, policy: TaskPolicy): Promise<void> {
  const { journal } = device
  const told = withOffer(journal, withDeadline(offerOf(journal, task.target), task.policy))
  const next = { ...task, policy }
  const isNews = isNewAdvisory(task.policy, policy) && mayMove(task.state, 'opted_out', 'owner')
  const isOptedOut = task.state === 'opted_out' && isNewAdvisory(task.policy, policy)
  const known = isNews || isOptedOut ? withAdvisory(told, next, device.now()) : told
  const parsed = Task.safeParse(next)
  if (parsed.success) return await device.store({ ...known, task: next })
  device.log('A policy that cannot be kept is ignored', { deploymentId: task.deploymentId })
}

/** A refusal of what this deployment asks for ends it; one that belongs to none is a security event. */
export function refused(before: Journal, refusal: RefusedBundle, now: number): Journal {
  const { code, detail, deploymentId } = refusal
  const journal = { ...before, lastRefusal: { at: now, code, detail: detail.slice(0, 500) } }
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

/** The image that the deployment is about, when there are several: the director names its component. */
function mainOf({ targets, state }: VerifiedBundle): VerifiedTarget | undefined {
  const [first] = targets
  if (targets.length < 2) return first
  const { signed } = decodeEnvelope(Buffer.from(state.director.targets ?? ''), maxFileBytes)
  const named = isObject(signed) ? signed['x-main'] : undefined
  return targets.find(({ component }) => component === named) ?? first
}

/**
 * Does the task bring what is wanted? What came along with it and runs by now is no longer to be installed, and the director may
 * not name it any more; it is the same set still: an answer that was made before the server heard of the end must not begin it
 * anew.
 */
function isSameSet(device: Device, task: Task, { target, also, all }: Wanted): boolean {
  const own = task.also.map((one) => one.target)
  const named = new Set(all.map((one) => one.sha256))
  return (
    task.target.sha256 === target.sha256 &&
    also.every((one) => own.some(({ sha256 }) => sha256 === one.target.sha256)) &&
    own.every((one) => named.has(one.sha256) || runs(device, one))
  )
}

interface Wanted extends Pick<Task, 'target' | 'also'> {
  /** Whatever the director names. */
  all: readonly VerifiedTarget[]
}

function runs(
  device: Device,
  { component, sha256 }: Pick<TaskTarget, 'component' | 'sha256'>,
): boolean {
  const { slot, record } = device.running(component)
  return record.slots[slot]?.sha256 === sha256
}

function newTask(device: Device, task: Task): Journal {
  const { target, also } = task
  const { slot } = device.running(target.component)
  if (!runs(device, target) || also.length > 0) return { ...device.journal, task }
  // It runs already: all that is left is to prove it.
  const now = device.now()
  return moved(
    device.journal,
    { ...task, slot, testingSinceAt: now },
    { state: 'testing', sha256: target.sha256, now },
  )
}

async function removeParts(device: Device, task: Task): Promise<void> {
  for (const { target } of partsOf(task)) {
    for (const slot of ['a', 'b'] as const) {
      await removeFile(device.disk, partFile(target.component, slot))
    }
  }
}

function targetOf({ path, component, length, sha256, match }: VerifiedTarget): TaskTarget {
  const { build, svn, version = String(build), fixes = [] } = match
  return { path, component, version, build, svn, length, sha256, fixes }
}

/** The class is the one signed offline: the director must not dress a feature as a fix (updates.md 2.3). */
function policyOf({ policy }: VerifiedBundle, releaseClass: ReleaseClass): TaskPolicy {
  if (!policy) {
    const auto = releaseClass !== 'feature'
    return {
      class: releaseClass,
      auto,
      consent: auto ? 'none' : 'install',
      optOut: 'honored',
      urgency: 'normal',
      window: [],
    }
  }
  const { auto, consent, optOut, urgency, window, quiet, postpone } = policy
  const { advisory, notice, override } = policy
  return {
    class: releaseClass,
    auto,
    consent,
    optOut,
    urgency,
    window,
    quiet,
    ...(postpone && { postpone }),
    ...(advisory && { advisory }),
    ...(notice && { notice }),
    ...(override && { override }),
  }
}

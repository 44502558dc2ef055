import type { DeploymentState } from '../server/protocol/deployment.ts'
import type { Installed } from '../server/protocol/messages.ts'
import type { DeviceConfig } from './config.ts'
import { deadlineOf } from './update/choice.ts'
import { type Journal, offerOf, type Task, type TaskPolicy } from './update/journal.ts'
import { openOffer } from './update/owner.ts'
import { quietOf } from './update/situation.ts'

export interface DeviceStatus {
  deviceId: string
  connected: boolean
  bootId: string
  installed: Installed[]
  optOut: boolean
  /** The owner switched logging and monitoring off. */
  monitoringOff?: boolean
  /** The hours in which a restart does not disturb; none means any time. */
  quiet: { spans: string[]; zone?: string }
  /** The newest bundle that was refused. */
  lastRefusal?: { at: string; code: string; detail: string }
  /** Messages that the server has not acknowledged yet. */
  waiting: number
  task?: {
    deploymentId: string
    state: DeploymentState
    version: string
    build: number
    component: string
    policy: TaskPolicy
    fixes: string[]
    code?: string
    detail?: string
    /** RFC 3339; of a postponement. */
    postponedUntil?: string
    postponements: number
    /** RFC 3339; after which it is installed all the same. */
    deadline?: string
    ownerMayChoose: boolean
  }
}

interface StatusSource {
  deviceId: string
  bootId: string
  config: DeviceConfig
  journal: Journal
  installed: () => Installed[]
  now: () => number
}

export function statusOf(
  device: StatusSource,
  { connected }: { connected: boolean },
): DeviceStatus {
  const { deviceId, bootId, journal } = device
  const { task, owner, queue, lastRefusal } = journal
  const { quiet, zone } = quietOf(device)
  return {
    deviceId,
    connected,
    bootId,
    installed: device.installed(),
    optOut: owner.optOut,
    ...(owner.monitoringOff === true && { monitoringOff: true }),
    quiet: { spans: [...quiet], ...(zone !== undefined && { zone }) },
    ...(lastRefusal && {
      lastRefusal: { ...lastRefusal, at: new Date(lastRefusal.at).toISOString() },
    }),
    waiting: queue.length,
    ...(task && { task: taskStatus(device, task) }),
  }
}

function taskStatus(device: StatusSource, task: Task): NonNullable<DeviceStatus['task']> {
  const { journal, config } = device
  const { deploymentId, state, target, policy, code, detail } = task
  const offer = offerOf(journal, target)
  const { managed, noticeMs } = config
  const facts = { task, offer, owner: journal.owner, managed, noticeMs, now: device.now() }
  const deadline = deadlineOf(facts)
  const until = state === 'postponed' ? offer.postponed.at(-1)?.until : undefined
  return {
    deploymentId,
    state,
    version: target.version,
    build: target.build,
    component: target.component,
    policy,
    fixes: target.fixes,
    ...(code !== undefined && { code }),
    ...(detail !== undefined && { detail }),
    ...(until !== undefined && { postponedUntil: new Date(until).toISOString() }),
    postponements: offer.postponed.length,
    ...(deadline !== undefined && { deadline: new Date(deadline).toISOString() }),
    ownerMayChoose: openOffer(journal) !== undefined,
  }
}

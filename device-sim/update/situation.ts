import { type Conditions, unsafeBecause } from './conditions.ts'
import type { Device } from './device.ts'
import { minutesIn } from './hours.ts'
import { offerOf, partsOf, type Task } from './journal.ts'
import type { Situation } from './machine.ts'
import { isSettings } from './settings.ts'

/** What the device does not know by itself: about its connection and what it is doing. */
export type Surroundings = Pick<Situation, 'connected' | 'downloading' | 'flushing'> & {
  conditions: Conditions
  isServerDown: boolean
}

/** updates.md 7.3: in all, also while the server is away. */
const outageLimitMs = 86_400_000
/** Settings that cut the device off are taken back soon, whatever the reason. */
const settingsLimitMs = 300_000

/** All that `nextStep` decides by, of this moment. */
export function situationOf(
  device: Device,
  { isServerDown, conditions, ...surroundings }: Surroundings,
): Situation {
  const { journal, config } = device
  const { task, owner } = journal
  const component = task?.target.component ?? Object.keys(config.components)[0] ?? ''
  const { record, slot } = device.running(component)
  const trusted = new Date(device.now())
  const { quiet, zone } = quietOf(device)
  return {
    ...surroundings,
    task,
    offer: task ? offerOf(journal, task.target) : { key: '', postponed: [], declined: false },
    owner,
    managed: config.managed,
    noticeMs: config.noticeMs,
    now: device.now(),
    record,
    running: slot,
    healthy: device.healthy,
    commitLimitMs: isSettings(component)
      ? Math.min(settingsLimitMs, config.commitLimitMs)
      : isServerDown
        ? outageLimitMs
        : config.commitLimitMs,
    quiet,
    localMinutes: minutesIn(trusted, zone),
    utcMinutes: trusted.getUTCHours() * 60 + trusted.getUTCMinutes(),
    installMs: installMsOf(device),
    unsafe: unsafeBecause(conditions, config.safety, task ? neededBytes(task) : 0),
  }
}

/** The owner's hours before those that the maker built in, before those of the model's policy (updates.md 7.2). */
export function quietOf({ journal, config }: Pick<Device, 'journal' | 'config'>): {
  quiet: readonly string[]
  zone: string | undefined
} {
  const { owner, task } = journal
  const zone = owner.quiet?.zone ?? config.timeZone
  if (owner.quiet) return { quiet: owner.quiet.spans, zone }
  return { quiet: config.quiet.length > 0 ? config.quiet : (task?.policy.quiet ?? []), zone }
}

/** As measured here, or before that by the maker. */
export function installMsOf({ journal, config }: Pick<Device, 'journal' | 'config'>): number {
  return journal.installMs ?? config.installMs
}

/** What a download still to come takes; what has arrived lies in its slot already. */
export function neededBytes(task: Task): number {
  const isToCome = task.state === 'accepted' || task.state === 'failed'
  return isToCome ? partsOf(task).reduce((sum, { target }) => sum + target.length, 0) : 0
}

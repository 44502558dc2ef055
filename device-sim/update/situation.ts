import type { Device } from './device.ts'
import { offerOf } from './journal.ts'
import type { Situation } from './machine.ts'

/** What the device does not know by itself: about its connection and what it is doing. */
export type Surroundings = Pick<Situation, 'connected' | 'downloading' | 'flushing'> & {
  isServerDown: boolean
}

/** updates.md 7.3: in all, also while the server is away. */
const outageLimitMs = 86_400_000

/** All that `nextStep` decides by, of this moment. */
export function situationOf(
  device: Device,
  { isServerDown, ...surroundings }: Surroundings,
): Situation {
  const { journal, config } = device
  const { task, owner } = journal
  const component = task?.target.component ?? Object.keys(config.components)[0] ?? ''
  const { record, slot } = device.running(component)
  const local = device.clock.now()
  const trusted = new Date(device.now())
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
    commitLimitMs: isServerDown ? outageLimitMs : config.commitLimitMs,
    quiet: config.quiet,
    localMinutes: local.getHours() * 60 + local.getMinutes(),
    utcMinutes: trusted.getUTCHours() * 60 + trusted.getUTCMinutes(),
  }
}

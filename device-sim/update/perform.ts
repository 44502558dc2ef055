import { overrideOf } from './choice.ts'
import type { Device } from './device.ts'
import {
  activate,
  commit,
  install,
  reportRolledBack,
  rollBack,
  startInstall,
  startTest,
} from './install.ts'
import { type Journal, offerOf, type Task } from './journal.ts'
import { noted } from './ledger.ts'
import type { Step } from './machine.ts'
import { reminded, reminderOf } from './notices.ts'
import { applyChoice, tellOptOut, tellPostponed } from './owner.ts'
import { moved } from './report.ts'
import { installMsOf } from './situation.ts'

export interface Effects {
  startDownload: (task: Task) => Promise<void>
  reboot: () => Promise<void>
  /** To the owner, on whatever screen there is. */
  tell: (text: string) => void
}

/** Does one step about the task. May be called again for the same step after a power cut. */
export async function perform(device: Device, step: Step, effects: Effects): Promise<void> {
  const { task } = device.journal
  if (!task || step.do === 'wait') return
  device.log(`update: ${step.do}`, { deploymentId: task.deploymentId, state: task.state })
  switch (step.do) {
    case 'offer':
      return await device.store(offered(device, task))
    case 'offerAgain':
      return await report(device, task, 'offered')
    case 'accept':
      return await accept(device, task)
    case 'remind':
      effects.tell(reminderOf(task))
      return await device.store(reminded(device.journal, task, device.now()))
    case 'refuseWindow':
      return await refuseWindow(device, task)
    case 'optOut':
      return await device.store(tellOptOut(device.journal, task, device.now()))
    case 'postponed':
      return await device.store(stillPostponed(device.journal, task, device.now()))
    case 'download':
      return await effects.startDownload(task)
    case 'giveUp':
      return await giveUp(device, task)
    case 'waitForWindow':
      return await report(device, task, 'waiting_window')
    case 'startInstall':
      return await startInstall(device, task)
    case 'install':
      return await install(device, task)
    case 'activate':
      return await activate(device, task)
    case 'reboot':
      return await effects.reboot()
    case 'startTest':
      return await startTest(device, task)
    case 'checkHealth':
      device.healthy = device.behavior.failHealth !== true
      return
    case 'commit':
      return await commit(device, task)
    case 'rollBack':
      await rollBack(device, task, step.code)
      return await effects.reboot()
    case 'reportRolledBack':
      return await reportRolledBack(device, task)
    default:
      return step satisfies never
  }
}

async function report(
  device: Device,
  task: Task,
  state: 'offered' | 'accepted' | 'waiting_window',
): Promise<void> {
  await device.store(moved(device.journal, task, { state, now: device.now() }))
}

/** Offered, and what the owner had said before or says at once, in one write. */
function offered(device: Device, task: Task): Journal {
  const now = device.now()
  const journal = moved(device.journal, task, { state: 'offered', now })
  const { postponeNext } = journal.owner
  const choice = postponeNext ? 'postpone' : device.behavior.onOffer
  if (choice === undefined) return journal
  const { managed, noticeMs } = device.config
  const installMs = installMsOf(device)
  const until = postponeNext?.until
  const result = applyChoice(
    journal,
    { managed, noticeMs, now, installMs },
    {
      id: `offer-${task.deploymentId}`,
      choice,
      onlyThis: false,
      ...(until !== undefined && { until: new Date(until).toISOString() }),
    },
  )
  device.log(result.outcome)
  const { postponeNext: _, ...owner } = result.journal.owner
  return { ...result.journal, owner }
}

/** A new deployment of a release that the owner has put off already. */
function stillPostponed(journal: Journal, task: Task, at: number): Journal {
  const until = offerOf(journal, task.target).postponed.at(-1)?.until ?? 0
  return { ...tellPostponed(journal, task, { until, at }), task: { ...task, state: 'postponed' } }
}

async function giveUp(device: Device, task: Task): Promise<void> {
  const { code = 'failed', detail } = task
  await device.store(
    moved(device.journal, task, {
      state: 'failed_final',
      code,
      ...(detail !== undefined && { detail }),
      now: device.now(),
    }),
  )
}

/** By itself, or because two people decided it over the owner of a managed device: then the ledger says who and why. */
async function accept(device: Device, task: Task): Promise<void> {
  const now = device.now()
  const override = overrideOf({ task, managed: device.config.managed, now })
  const journal = moved(device.journal, task, { state: 'accepted', now })
  if (!override || task.accepted) return await device.store(journal)
  const detail = `${override.by.join(' and ')}: ${override.reason}`
  await device.store(noted(journal, { at: now, by: 'operator', act: 'override', task, detail }))
}

async function refuseWindow(device: Device, task: Task): Promise<void> {
  const minutes = Math.ceil(installMsOf(device) / 60_000)
  const detail = `The window ${task.policy.window.join(', ')} (UTC) is shorter than the ${minutes} minutes an installation takes`
  const failed = { state: 'failed_final' as const, code: 'window-too-short', detail }
  await device.store(
    moved(device.journal, { ...task, code: failed.code, detail }, { ...failed, now: device.now() }),
  )
}

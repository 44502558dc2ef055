import type { DeploymentState } from '../../server/protocol/deployment.ts'
import type { Report } from '../../server/protocol/messages.ts'
import { type Journal, queued, type Task } from './journal.ts'
import { noted } from './ledger.ts'

/** What the device did about an update that its owner may want to know later. */
const ledgerStates = ['offered', 'accepted', 'succeeded', 'rolled_back', 'failed_final'] as const

export type ReportExtra = Pick<Report, 'progress' | 'code' | 'detail' | 'sha256' | 'commitNonce'>

/** The task in its next state and the report that says so, in one journal: stored together or not at all. */
export function moved(
  journal: Journal,
  task: Task,
  { state, now, ...extra }: ReportExtra & { state: DeploymentState; now: number },
): Journal {
  const next = queued(journal, {
    leaf: 'report',
    body: reportOf(task.deploymentId, { state, now, ...extra }),
  })
  const act = ledgerStates.find((one) => one === state)
  const told = act ? noted(next, { at: now, by: 'device', act, task, detail: extra.code }) : next
  return { ...told, ...measured(task, state, now), task: { ...task, state, ...since(state, now) } }
}

/** How long an installation takes here: windows must be longer (updates.md 7.2). */
function measured({ installingSinceAt }: Task, state: DeploymentState, now: number) {
  return state === 'testing' && installingSinceAt !== undefined
    ? { installMs: Math.max(0, now - installingSinceAt) }
    : {}
}

function since(state: DeploymentState, now: number) {
  return state === 'installing' ? { installingSinceAt: now } : {}
}

export function reportOf(
  deploymentId: string,
  { state, now, ...extra }: ReportExtra & { state: DeploymentState; now: number },
): Report {
  return { deploymentId, state, ...readable(extra), at: new Date(now).toISOString() }
}

export function securityEvent(
  journal: Journal,
  { kind, detail, now }: { kind: string; detail: string; now: number },
): Journal {
  const body = {
    kind,
    severity: 'warning' as const,
    detail: printable(detail, 1_000),
    at: new Date(now).toISOString(),
  }
  return queued(journal, { leaf: 'event', body })
}

function readable({ detail, ...extra }: ReportExtra): ReportExtra {
  return { ...extra, ...(detail !== undefined && { detail: printable(detail, 500) }) }
}

function printable(text: string, length: number): string {
  return text.replaceAll(/[^ -~]+/g, '?').slice(0, length)
}

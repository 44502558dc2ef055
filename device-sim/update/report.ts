import type { DeploymentState } from '../../server/protocol/deployment.ts'
import type { Report } from '../../server/protocol/messages.ts'
import { type Journal, queued, type Task } from './journal.ts'

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
  return { ...next, task: { ...task, state } }
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

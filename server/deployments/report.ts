import { randomBytes } from 'node:crypto'

import type { Tx } from '../db/client.ts'
import { recordMisconduct, type SecurityEvent } from '../events/record.ts'
import type { DeviceMessage } from '../mqtt/message.ts'
import { storeSettingsReports } from '../settings/report.ts'
import { countKinds } from './code-counts.ts'
import { judgeReport } from './judge-report.ts'
import { auditRefusals } from './refusals.ts'
import type { CheckedReport } from './report-proof.ts'
import { historiesOf, type JudgedDeployment, lockDeployments } from './report-store.ts'
import { isOpen } from './steps.ts'
import { type Change, saveChanges, type Step } from './store.ts'
import { tellEnds } from './tell-ends.ts'

/** What to do once the reports are committed. */
export interface ReportResult {
  changes: readonly Change[]
  /** Devices in `testing`, and what they must bring back. */
  commits: readonly { deviceId: string; deploymentId: string; commitNonce: string }[]
  events: readonly SecurityEvent[]
  /** Devices that said what may not be: they are asked to look again at what counts. */
  refreshOf: readonly string[]
}

/**
 * Stores a group of reports in at most seven statements. Every report of the group is stored or refused by itself: a report
 * about an unknown deployment, or another device's, or one that is no legal move, leaves a security event and an audit row
 * (one a device and group, and an hour's share of them), is answered, and changes nothing.
 */
export async function storeReports(
  tx: Tx,
  messages: readonly DeviceMessage<CheckedReport>[],
  now: Date,
): Promise<ReportResult> {
  const ids = [...new Set(messages.map(({ body }) => body.deploymentId))]
  const locked = await lockDeployments(tx, { ids })
  const found = new Map(locked.map((row) => [row.id, row]))
  // A device's own settings are reported as a deployment is, under their own id.
  const settings = await storeSettingsReports(
    tx,
    messages.filter(({ body }) => !found.has(body.deploymentId)),
    now,
  )
  const pasts = Map.groupBy(
    locked.length > 0 ? await historiesOf(tx, [...found.keys()]) : [],
    (past) => past.deployment_id,
  )
  const changes = new Map<string, Change & { steps: Step[] }>()
  const commits = new Map<string, ReportResult['commits'][number]>()
  const events = new Map<string, SecurityEvent>()
  for (const message of messages) {
    const { deviceId, body } = message
    const row = found.get(body.deploymentId)
    if (!row && !settings.others.includes(message)) continue
    if (row?.device_id !== deviceId) {
      events.set(deviceId, foreign(deviceId, body, row !== undefined))
      continue
    }
    if (body.proof !== undefined && body.provenBy === undefined) {
      events.set(`${deviceId} report-proof-invalid`, unproven(deviceId, body))
      continue
    }
    const known = changes.get(row.id)
    const history = [...(pasts.get(row.id) ?? []), ...(known?.steps ?? [])]
    const facts = {
      history,
      artifactSha256: row.artifact_sha256,
      installedSha256: row.installed_sha256,
      busy: row.busy || isBusyNow(row, changes),
      overridden: row.overridden && row.managed,
    }
    const newNonce = randomBytes(16).toString('hex')
    const judgement = judgeReport(known?.after ?? row, facts, body, { now, newNonce })
    if (judgement.event)
      events.set(`${deviceId} ${judgement.event.kind}`, { ...judgement.event, deviceId })
    if (judgement.changed) {
      const steps = [...(known?.steps ?? []), ...judgement.steps]
      changes.set(row.id, { before: row, after: judgement.after, steps })
    }
    const { state, commit_nonce: commitNonce } = judgement.after
    if (judgement.sendCommit && commitNonce !== null) {
      commits.set(row.id, { deviceId, deploymentId: row.id, commitNonce })
    } else if (state !== 'testing') commits.delete(row.id)
  }
  await saveChanges(tx, [...changes.values()], now)
  await countKinds(tx, [...changes.values()])
  await tellEnds(tx, [...changes.values()], now)
  const recorded = await recordMisconduct(tx, now, [...events.values()])
  return {
    changes: [...changes.values()],
    commits: [...commits.values(), ...settings.commits],
    events: [...events.values()],
    refreshOf: await auditRefusals(tx, recorded, now),
  }
}

/** Another deployment of the same device and component that this group of messages has just brought back to life. */
function isBusyNow(row: JudgedDeployment, changes: ReadonlyMap<string, Change>): boolean {
  return [...changes.values()].some(
    ({ after }) =>
      after.id !== row.id &&
      after.device_id === row.device_id &&
      after.component === row.component &&
      isOpen(after.state),
  )
}

/** Signed by another key, or about something else than it says. */
function unproven(deviceId: string, { deploymentId, state }: CheckedReport): SecurityEvent {
  return {
    source: 'server',
    kind: 'report-proof-invalid',
    severity: 'warning',
    deviceId,
    facts: { deploymentId, reported: state },
  }
}

function foreign(deviceId: string, report: CheckedReport, exists: boolean): SecurityEvent {
  return {
    source: 'server',
    kind: 'illegal-report',
    severity: 'warning',
    deviceId,
    // Whether the id is another device's is for the operator to see, never for the device.
    facts: { deploymentId: report.deploymentId, reported: report.state, foreign: exists },
  }
}

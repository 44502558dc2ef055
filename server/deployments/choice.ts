import type { Tx } from '../db/client.ts'
import { storableInstant } from '../db/storable.ts'
import { lockStandingChoices, setStandingChoices } from '../devices/standing-choice.ts'
import { recordMisconduct, type SecurityEvent } from '../events/record.ts'
import type { DeviceMessage } from '../mqtt/message.ts'
import { type Choice, type UpdateChoice, updateChoices } from '../protocol/messages.ts'
import { judgeChoice, postponeLimitsOf } from './judge-choice.ts'
import { type LedgerEntry, recordChoices } from './ledger.ts'
import { storeMonitoring } from './monitoring.ts'
import { auditRefusals } from './refusals.ts'
import { appliedPostponements, type JudgedDeployment, lockDeployments } from './report-store.ts'
import { isOpen } from './steps.ts'
import { type Change, saveChanges } from './store.ts'

export interface ChoiceResult {
  changes: readonly Change[]
  /**
   * Devices that are to say `hello` again: their owner was told something else on the screen than what counts; or opted out
   * or in with one release named, and only `hello` says what they chose for all.
   */
  refreshOf: readonly string[]
  events: readonly SecurityEvent[]
}

/**
 * Stores a group of owners' choices in a fixed number of statements. What is applied and what is refused both go into the
 * ledger, which is bounded (ledger.ts); a repetition leaves no trace. `optOut` and `optIn` are about the one deployment they name; without a name they are
 * the device's standing choice, and count for every deployment it has open.
 */
export async function storeChoices(
  tx: Tx,
  messages: readonly DeviceMessage<Choice>[],
  now: Date,
): Promise<ChoiceResult> {
  const { updates, monitoring } = byKind(messages)
  await storeMonitoring(tx, monitoring, now)
  const work = await load(tx, updates)
  for (const { deviceId, body } of updates) {
    const named = body.deploymentId === undefined ? undefined : work.rows.get(body.deploymentId)
    if (body.deploymentId !== undefined && named?.device_id !== deviceId) {
      work.events.set(deviceId, foreign(deviceId, body, named !== undefined))
    } else applyChoice(work, deviceId, body, named, now)
  }
  const changes = [...work.changes.values()]
  await saveChanges(tx, changes, now)
  await setStandingChoices(tx, work.standingChanged)
  await recordChoices(tx, [...work.ledger.values()], now)
  const recorded = await recordMisconduct(tx, now, [...work.events.values()])
  for (const deviceId of await auditRefusals(tx, recorded, now)) work.refreshOf.add(deviceId)
  return { changes, refreshOf: [...work.refreshOf], events: [...work.events.values()] }
}

function byKind(messages: readonly DeviceMessage<Choice>[]) {
  const updates: DeviceMessage<UpdateChoice>[] = []
  const monitoring: DeviceMessage<Choice>[] = []
  for (const message of messages) {
    if (isOfUpdates(message)) updates.push(message)
    else monitoring.push(message)
  }
  return { updates, monitoring }
}

function isOfUpdates(message: DeviceMessage<Choice>): message is DeviceMessage<UpdateChoice> {
  return (updateChoices as readonly string[]).includes(message.body.choice)
}

interface Work {
  rows: ReadonlyMap<string, JudgedDeployment>
  openOf: Partial<Record<string, JudgedDeployment[]>>
  standing: Map<string, boolean>
  postponed: Set<string>
  changes: Map<string, Change>
  standingChanged: Map<string, boolean>
  /** By what they say, so that a device which repeats a refused choice does not fill the ledger. */
  ledger: Map<string, LedgerEntry>
  refreshOf: Set<string>
  events: Map<string, SecurityEvent>
}

async function load(tx: Tx, messages: readonly DeviceMessage<UpdateChoice>[]): Promise<Work> {
  const ids = messages.flatMap(({ body }) => body.deploymentId ?? [])
  const openOf = messages.flatMap(({ deviceId, body }) => (body.deploymentId ? [] : [deviceId]))
  const rows = await lockDeployments(tx, { ids, openOf })
  const isPostponing = messages.some(({ body }) => body.choice === 'postpone')
  const past = isPostponing
    ? await appliedPostponements(
        tx,
        rows.map((row) => row.id),
      )
    : []
  const standing = messages.filter(({ body }) => isStanding(body)).map(({ deviceId }) => deviceId)
  return {
    rows: new Map(rows.map((row) => [row.id, row])),
    openOf: Object.groupBy(
      rows.filter((row) => isOpen(row.state)),
      (row) => row.device_id,
    ),
    standing: standing.length > 0 ? await lockStandingChoices(tx, standing) : new Map(),
    postponed: new Set(past.map(({ deployment_id, until }) => postponeKey(deployment_id, until))),
    changes: new Map(),
    standingChanged: new Map(),
    ledger: new Map(),
    refreshOf: new Set(),
    events: new Map(),
  }
}

function applyChoice(
  work: Work,
  deviceId: string,
  choice: UpdateChoice,
  named: JudgedDeployment | undefined,
  now: Date,
): void {
  const targets = named ? [named] : (work.openOf[deviceId] ?? [])
  const outcomes = targets.map((row) => applyTo(work, row, choice, now))
  const isNew = isStanding(choice) && changeStanding(work, deviceId, choice.choice === 'optOut')
  if (isNew && !outcomes.includes('applied')) note(work, deviceId, null, choice, 'applied')
  if (targets.length === 0 && !isStanding(choice)) {
    note(work, deviceId, null, choice, 'refused: no update is offered')
  }
}

/** Returns the outcome for this one deployment; undefined when there was nothing to do. */
function applyTo(
  work: Work,
  row: JudgedDeployment,
  choice: UpdateChoice,
  now: Date,
): string | undefined {
  if (choice.choice === 'postpone') {
    const key = postponeKey(row.id, storableInstant(choice.until) ?? null)
    if (work.postponed.has(key)) return undefined
  }
  const known = work.changes.get(row.id)
  const before = known?.after ?? row
  const judgement = judgeChoice(before, postponeLimitsOf(row), choice, now)
  if (judgement.outcome === undefined) return undefined
  if (judgement.outcome === 'applied') {
    const steps = [...(known?.steps ?? []), ...judgement.steps]
    work.changes.set(row.id, { before: row, after: judgement.after, steps })
    if (choice.choice === 'postpone') {
      work.postponed.add(postponeKey(row.id, judgement.after.postponed_until))
    }
  }
  note(work, row.device_id, row.id, choice, judgement.outcome)
  return judgement.outcome
}

function changeStanding(work: Work, deviceId: string, optOut: boolean): boolean {
  const before = work.standing.get(deviceId)
  if (before === undefined || before === optOut) return false
  work.standing.set(deviceId, optOut)
  work.standingChanged.set(deviceId, optOut)
  return true
}

function note(
  work: Work,
  deviceId: string,
  deploymentId: string | null,
  choice: UpdateChoice,
  outcome: string,
): void {
  const isRefused = outcome !== 'applied'
  if (isRefused || (deploymentId !== null && isOptInOrOut(choice.choice)))
    work.refreshOf.add(deviceId)
  const key = isRefused
    ? `${deviceId} ${deploymentId} ${choice.choice} ${outcome}`
    : work.ledger.size
  work.ledger.set(String(key), {
    device_id: deviceId,
    deployment_id: deploymentId,
    choice: choice.choice,
    until: storableInstant(choice.until) ?? null,
    outcome,
    version: work.rows.get(deploymentId ?? '')?.release_version ?? null,
    text_sha256: choice.textSha256 ?? null,
    chosen_at: storableInstant(choice.at) ?? null,
  })
}

function isStanding({ choice, deploymentId }: UpdateChoice): boolean {
  return deploymentId === undefined && isOptInOrOut(choice)
}

function isOptInOrOut(choice: UpdateChoice['choice']): boolean {
  return choice === 'optOut' || choice === 'optIn'
}

function postponeKey(deploymentId: string | null, until: Date | null): string {
  return `${deploymentId} ${until?.getTime()}`
}

function foreign(deviceId: string, choice: UpdateChoice, exists: boolean): SecurityEvent {
  return {
    source: 'server',
    kind: 'illegal-choice',
    severity: 'warning',
    deviceId,
    facts: { deploymentId: choice.deploymentId, choice: choice.choice, foreign: exists },
  }
}

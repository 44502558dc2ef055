import { type Consent, onlyUnasked } from '../approvals/agreed.ts'
import { recordAudit } from '../audit/audit.ts'
import { publishCrl } from '../certificates/crl.ts'
import { revokeDeviceCertificates, wasEverEnrolled } from '../certificates/service.ts'
import type { RevocationReason } from '../certificates/state.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { hasTargetToken } from '../ddi/token-service.ts'
import { announceIdentityChange, recordIdentityChanges } from '../devices/identity-change.ts'
import { type LockedDevice, lockDevice, moveDevice } from '../devices/lifecycle.ts'
import type { DeviceAction, DeviceState, operatorActions } from '../devices/state.ts'
import { DomainError } from '../errors.ts'
import { recordEvents } from '../events/record.ts'
import { newId } from '../ids.ts'
import { closeIncident, findGroup, findOpenIncident, type Incident, openIncident } from './store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'bus' | 'log' | 'authorities' | 'identities'>
type OperatorAction = (typeof operatorActions)[number]

/** Who acts, and in which request. */
export interface By {
  id: string
  requestId?: string
}

export interface DeviceCommand {
  deviceId: string
  action: OperatorAction
  /** Free text, for the audit record. */
  reason: string
  by: By
}

/** A final action takes the certificates back, for this reason on the CRL. */
const revokes: Partial<Record<OperatorAction, RevocationReason>> = {
  revoke: 'privilegeWithdrawn',
  retire: 'cessationOfOperation',
}

/**
 * Cuts one device off or lets it back. When this returns, every process was told to end its connections and the CRL holds what
 * was revoked. An action whose effect is there already changes nothing, but makes sure of that too: a caller whose first
 * attempt broke off may simply try again.
 *
 * @throws DomainError `not-found`, `illegal-transition`
 */
export async function actOnDevice(
  ctx: Deps,
  command: DeviceCommand,
): Promise<{ state: DeviceState }> {
  const { deviceId } = command
  const now = ctx.clock.now()
  const { state, authorityIds } = await inTransaction(ctx.db, async (tx) => {
    const device = await lockDevice(tx, { id: deviceId })
    if (!device) throw new DomainError('not-found', 'No such device', { deviceId })
    const reason = revokes[command.action]
    const next = await applyTo(tx, device, command, now)
    const revoked = reason
      ? await revokeDeviceCertificates(tx, { deviceId, reason, now })
      : undefined
    return { state: next, authorityIds: revoked?.authorityIds ?? [] }
  })
  // Order matters: sockets first, they are the danger; then the list for third parties; then the answer.
  await announceIdentityChange(ctx, [deviceId])
  const issuers = command.action in revokes ? ctx.authorities.deviceIssuers.map(({ id }) => id) : []
  for (const id of new Set([...authorityIds, ...issuers])) await publishCrl(ctx, id)
  return { state }
}

async function applyTo(
  tx: Tx,
  device: LockedDevice,
  { action, reason, by }: DeviceCommand,
  now: Date,
): Promise<DeviceState> {
  const move = await moveFor(tx, device, action)
  if (!move) return device.state
  const next = await moveDevice(tx, device, move, now)
  await recordIdentityChanges(tx, { deviceIds: [device.id], now })
  await recordAudit(tx, {
    at: now,
    actor: by.id,
    action: `device.${action}`,
    subject: device.id,
    facts: { from: device.state, to: next, reason },
    ...requestOf(by),
  })
  await recordEvents(tx, now, [
    {
      source: 'server',
      kind: `device-${next}`,
      severity: next === 'revoked' || next === 'disabled' ? 'warning' : 'info',
      deviceId: device.id,
      facts: { from: device.state, by: by.id, reason },
    },
  ])
  return next
}

const targets: Record<OperatorAction, readonly DeviceState[]> = {
  disable: ['disabled'],
  enable: ['active', 'registered'],
  revoke: ['revoked'],
  retire: ['retired'],
}

/** Undefined when the device is where the action leads already. */
async function moveFor(
  tx: Tx,
  device: LockedDevice,
  action: OperatorAction,
): Promise<DeviceAction | undefined> {
  if (targets[action].includes(device.state)) return undefined
  if (action !== 'enable') return action
  const isEnrolled = (await wasEverEnrolled(tx, device.id)) || (await hasTargetToken(tx, device.id))
  return isEnrolled ? 'enable' : 'reinstate'
}

const unasked = onlyUnasked('group-disable', 'use POST /groups/ID/actions')

export interface GroupCommand {
  groupId: string
  action: 'disable' | 'enable'
  reason: string
  by: By
  /** Of others, by policy, to cut the group off. */
  consent?: Consent
}

/**
 * Opens or closes the incident that cuts off a whole group, devices that join it later included. Work is one row, however
 * many devices there are. Undefined when there was no incident to close. Consent is for the group, whoever is in it by then.
 */
export async function actOnGroup(ctx: Deps, command: GroupCommand): Promise<Incident | undefined> {
  const { groupId, action, reason, by, consent = unasked } = command
  const now = ctx.clock.now()
  const incident = await inTransaction(ctx.db, async (tx) => {
    const group = await findGroup(tx, groupId)
    if (!group) throw new DomainError('not-found', 'No such group', { groupId })
    const isNew = action === 'disable' && !(await findOpenIncident(tx, groupId))
    const agreed = isNew ? await consent(tx, group) : {}
    const changed = await changeIncident(tx, command, now)
    if (!changed) return await findOpenIncident(tx, groupId)
    await recordIdentityChanges(tx, { groupId, now })
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: `group.${action}`,
      subject: groupId,
      facts: { incidentId: changed.id, reason, ...agreed },
      ...requestOf(by),
    })
    await recordEvents(tx, now, [
      {
        source: 'server',
        kind: `group-${action}d`,
        severity: action === 'disable' ? 'warning' : 'info',
        facts: { groupId, incidentId: changed.id, by: by.id, reason },
      },
    ])
    return changed
  })
  await announceIdentityChange(ctx, [groupId])
  return incident
}

async function changeIncident(
  tx: Tx,
  { groupId, action, reason, by }: GroupCommand,
  now: Date,
): Promise<Incident | undefined> {
  switch (action) {
    case 'disable':
      return await openIncident(tx, {
        id: newId(now),
        group_id: groupId,
        reason,
        opened_by: by.id,
        opened_at: now,
      })
    case 'enable':
      return await closeIncident(tx, groupId, { by: by.id, now })
    default:
      throw new DomainError('invalid-request', 'No such action on a group')
  }
}

function requestOf({ requestId }: By): { requestId?: string } {
  return requestId === undefined ? {} : { requestId }
}

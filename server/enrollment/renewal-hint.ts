import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { noteTold } from '../deployments/certificates.ts'
import type { Command } from '../protocol/messages.ts'
import { admitRenewals } from '../rollouts/certificates.ts'
import {
  findRenewable,
  listEstPolicies,
  listRenewables,
  type RenewableRow,
} from './est-policy-store.ts'
import { policyIn } from './est-policy.ts'
import { type RenewalTimes, renewalTimes } from './renewal-window.ts'

type HintDeps = Pick<Context, 'config' | 'db' | 'clock' | 'transport' | 'metrics' | 'log'>

/** A hint further away is not worth a message: it came with the certificate, and comes with a later `hello`. */
const aheadMs = 2 * 86_400_000

/** When a certificate is to be renewed; undefined for one that is not in use. */
export async function renewalHintFor(
  db: Db,
  fingerprint: string,
): Promise<RenewalTimes | undefined> {
  const row = await findRenewable(db, fingerprint)
  return row && (await timesOf(db, [row])).get(row.device_id)
}

/** How long before it is to renew a device in a rollout is told: it may be on its way, and its clock not quite right. */
const leadMs = 10_000

/**
 * Tells devices that said hello when to renew, if that is soon or over. It makes good a hint that was given under other rules
 * or got lost; a device that renews in time needs none. A device whose turn it is in a rollout of certificates gets its place
 * in it here, and is told to renew at once.
 */
export async function sendRenewalHints(ctx: HintDeps, deviceIds: readonly string[]): Promise<void> {
  if (deviceIds.length === 0) return
  const { db, clock, transport } = ctx
  const rows = await listRenewables(db, deviceIds)
  const turns = await turnsOf(ctx, rows)
  const told: string[] = []
  for (const { device_id: deviceId, fingerprint: certificate } of turns) {
    const at = new Date(clock.now().getTime() + leadMs).toISOString()
    const sent = await transport.send(deviceId, 'command', { command: 'renew', certificate, at })
    if (sent === 'sent') told.push(deviceId)
  }
  await noteTold(ctx, told)
  const inTurn = new Set(turns.map((row) => row.device_id))
  const times = await timesOf(
    db,
    rows.filter((row) => !inTurn.has(row.device_id)),
  )
  const before = clock.now().getTime() + aheadMs
  const due = [...times].filter(([, { renewAt }]) => renewAt.getTime() <= before)
  await Promise.all(
    due.map(async ([deviceId, { fingerprint: certificate, renewAt }]) => {
      const command: Command = { command: 'renew', certificate, at: renewAt.toISOString() }
      await transport.send(deviceId, 'command', command)
    }),
  )
}

/** Those that are to renew now because a rollout says so. */
async function turnsOf(ctx: HintDeps, rows: readonly RenewableRow[]): Promise<RenewableRow[]> {
  const possible = rows.filter((row) => row.isTurnPossible).map((row) => row.device_id)
  const admitted = new Set(await admitRenewals(ctx, possible))
  return rows.filter(({ device_id, renewal }) => {
    if (admitted.has(device_id)) return true
    if (renewal?.isDue !== true) return false
    // Who was not told yet when the rollout was paused is not told.
    return renewal.state === 'accepted' || (renewal.state === 'queued' && renewal.isRunning)
  })
}

/** By device; of two certificates of a device the older. */
async function timesOf(
  db: Db,
  rows: readonly RenewableRow[],
): Promise<Map<string, RenewalTimes & { fingerprint: string }>> {
  const ids = new Set(rows.flatMap((row) => row.enrollment_profile_id ?? []))
  const policies = new Map(
    (ids.size === 0 ? [] : await listEstPolicies(db, [...ids])).map((row) => [row.profile_id, row]),
  )
  const newestFirst = rows.toSorted((a, b) => b.created_at.getTime() - a.created_at.getTime())
  return new Map(
    newestFirst.map((row) => {
      const { fingerprint } = row
      const certificate = {
        fingerprint,
        notBefore: row.not_before,
        notAfter: row.not_after,
        issuedAt: row.created_at,
      }
      const { renewal } = policyIn(policies.get(row.enrollment_profile_id ?? ''))
      const times = renewalTimes(certificate, renewal, row.issuer_replaced_at)
      const turn = row.renewal?.isDue === true ? { opensAt: new Date(0) } : {}
      return [row.device_id, { ...times, ...turn, fingerprint }]
    }),
  )
}

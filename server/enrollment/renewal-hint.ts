import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import type { Command } from '../protocol/messages.ts'
import {
  findRenewable,
  listEstPolicies,
  listRenewables,
  type RenewableRow,
} from './est-policy-store.ts'
import { policyIn } from './est-policy.ts'
import { type RenewalTimes, renewalTimes } from './renewal-window.ts'

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

/**
 * Tells devices that said hello when to renew, if that is soon or over. It makes good a hint that was given under other rules
 * or got lost; a device that renews in time needs none.
 */
export async function sendRenewalHints(
  { db, clock, transport }: Pick<Context, 'db' | 'clock' | 'transport'>,
  deviceIds: readonly string[],
): Promise<void> {
  if (deviceIds.length === 0) return
  const times = await timesOf(db, await listRenewables(db, deviceIds))
  const before = clock.now().getTime() + aheadMs
  const due = [...times].filter(([, { renewAt }]) => renewAt.getTime() <= before)
  await Promise.all(
    due.map(async ([deviceId, { fingerprint: certificate, renewAt }]) => {
      const command: Command = { command: 'renew', certificate, at: renewAt.toISOString() }
      await transport.send(deviceId, 'command', command)
    }),
  )
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
      return [row.device_id, { ...times, fingerprint }]
    }),
  )
}

import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { recordEvents } from '../events/record.ts'
import type { Worker } from '../workers/worker.ts'
import {
  type Ending,
  type ExpiryStage,
  lastOfTheirDevices,
  listIssued,
  noteTold,
} from './expiry-store.ts'

/** Shares of a certificate's life that are left (pki.md §6.3). Renewal is due long before: at 95 % at the latest. */
const shares: readonly [ExpiryStage, number][] = [
  ['critical', 0.05],
  ['warning', 0.2],
]
/** Of a device that has been away for longer nobody needs to hear again. */
const overForMs = 30 * 86_400_000
const idleMs = 3_600_000
const pageSize = 1_000

/**
 * Tells of devices that do not renew: an event when a fifth of the life of their last certificate is left, and another, critical one
 * at a twentieth; each once, whichever process gets there first. Walks through all certificates in use, a page a step.
 */
export function expiryWorkers(ctx: Pick<Context, 'db' | 'clock'>): Worker[] {
  let after: string | undefined
  const step = async () => {
    after = await tellOfEnding(ctx, after)
    return after !== undefined
  }
  return [{ name: 'certificate-expiry', idleMs, step }]
}

/**
 * One page of certificates.
 *
 * @param after id of the last certificate of the page before
 * @returns where the next page begins; undefined after the last
 */
export async function tellOfEnding(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  after?: string,
): Promise<string | undefined> {
  const now = clock.now()
  const page = await listIssued(db, { after, limit: pageSize })
  const due = page.flatMap((one) => {
    const stage = stageOf(one, now)
    return stage ? [{ ...one, stage }] : []
  })
  if (due.length > 0) {
    await inTransaction(db, async (tx) => {
      const last = await lastOfTheirDevices(
        tx,
        due.map(({ id }) => id),
      )
      const told = await noteTold(
        tx,
        due.filter(({ id }) => last.has(id)),
        now,
      )
      await recordEvents(
        tx,
        now,
        due
          .filter(({ id }) => told.has(id))
          .map(({ id, device_id: deviceId, fingerprint, not_after: notAfter, stage }) => ({
            source: 'server',
            kind: 'certificate-not-renewed',
            severity: stage,
            deviceId,
            facts: { certificateId: id, fingerprint, notAfter: notAfter.toISOString() },
          })),
      )
    })
  }
  return page.length === pageSize ? page.at(-1)?.id : undefined
}

function stageOf(
  { not_before: from, not_after: until }: Ending,
  now: Date,
): ExpiryStage | undefined {
  const leftMs = until.getTime() - now.getTime()
  if (leftMs < -overForMs) return undefined
  const lifeMs = until.getTime() - from.getTime()
  return shares.find(([, share]) => leftMs <= lifeMs * share)?.[0]
}

import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { afterReports } from '../deployments/messages.ts'
import { storeReports } from '../deployments/report.ts'
import { describePolled } from '../devices/polled-description.ts'
import { recordEvents } from '../events/record.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import { findClaimed } from './claim-store.ts'
import { setWantsAttributes } from './device-store.ts'

/** RAUC's client claims before the reboot; until this is over the old version proves nothing. */
export const rebootMs = 5 * 60_000
const notReported = '1970-01-01T00:00:00Z'

/**
 * After a claim, and in a later contact: the image that runs says which version it is (ddi.md §10). The release's own proves the deployment;
 * another one ends it as rolled back.
 *
 * @param shown the version; `claimed` where the client's word has to do, which is recorded as an event
 */
export async function proveSuccess(
  ctx: Context,
  deviceId: string,
  shown: { version: string } | 'claimed',
): Promise<void> {
  const claimed = await findClaimed(ctx.db, deviceId)
  if (!claimed) return
  const now = ctx.clock.now()
  const isProven = shown === 'claimed' || shown.version === claimed.version
  if (!isProven && claimed.profile === 'rauc') {
    // The image that ran before may still be the one that speaks. It is asked again: this client says nothing that it was not asked for.
    if (now.getTime() - claimed.claimed_at.getTime() < rebootMs) {
      await inTransaction(ctx.db, (tx) => setWantsAttributes(tx, deviceId, true))
      return
    }
  }
  if (!isProven)
    return await report(ctx, deviceId, claimed.id, { state: 'rolled_back', code: 'old-version' })
  await inTransaction(ctx.db, async (tx) => {
    const { component, version, build, svn, sha256 } = claimed
    await describePolled(
      tx,
      { deviceId, installed: { component, version, build, svn, sha256 } },
      now,
    )
    if (shown !== 'claimed') return
    const facts = { deploymentId: claimed.id, version }
    const event = { source: 'server', kind: 'ddi-success-not-verified', severity: 'info' } as const
    await recordEvents(tx, now, [{ ...event, deviceId, facts }])
  })
  if (claimed.commit_nonce === null) await report(ctx, deviceId, claimed.id, { state: 'testing' })
  const { commit_nonce: commitNonce } = (await findClaimed(ctx.db, deviceId)) ?? claimed
  if (commitNonce === null) return
  const { sha256 } = claimed
  await report(ctx, deviceId, claimed.id, { state: 'succeeded', commitNonce, sha256 })
}

async function report(
  ctx: Context,
  deviceId: string,
  deploymentId: string,
  said: { state: DeploymentState; code?: string; commitNonce?: string; sha256?: string },
): Promise<void> {
  const now = ctx.clock.now()
  const body = { ...said, deploymentId, at: notReported }
  const result = await inTransaction(ctx.db, (tx) => storeReports(tx, [{ deviceId, body }], now))
  await afterReports(ctx, result)
}

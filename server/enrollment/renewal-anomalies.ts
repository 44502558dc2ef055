import type { Context } from '../context.ts'
import { noteEvent, type SecurityEvent } from '../events/record.ts'
import { estPolicyOfDevice } from './est-policy.ts'
import { networkOf } from './networks.ts'
import { recentRenewals } from './renewal-anomalies-store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>

const hourMs = 3_600_000
const minutesMs = 10 * 60_000
/** The same request again gets the same certificate: each of these was asked for with another request. */
const manyAnHour = 3

interface Renewed {
  deviceId: string
  certificateId: string
}

/**
 * Tells of a renewal that was granted and is not as renewals are: with the key there was, where the profile leaves that open; the third
 * within an hour; or from another network than one a few minutes ago, as when a copy of the device renews too. A device that repeats a request
 * whose answer was lost, from wherever, renewed once. The renewal stands whatever becomes of this.
 */
export async function noteAnomalies(ctx: Deps, renewed: Renewed): Promise<void> {
  try {
    for (const event of await anomaliesOf(ctx, renewed)) noteEvent(ctx, event)
  } catch (error) {
    ctx.log.warn({ err: error }, 'whether a renewal was as usual could not be found out')
  }
}

async function anomaliesOf(
  { db, clock }: Deps,
  { deviceId, certificateId }: Renewed,
): Promise<SecurityEvent[]> {
  const now = clock.now().getTime()
  const of = { source: 'server', deviceId } as const
  const found: SecurityEvent[] = []
  const renewals = await recentRenewals(db, deviceId, new Date(now - hourMs))
  const mine = renewals.find(({ id }) => id === certificateId)
  if (mine?.isSameKey === true && (await estPolicyOfDevice(db, deviceId)).renewalKey === 'any') {
    const facts = { certificateId }
    found.push({ ...of, kind: 'renewed-same-key', severity: 'info', facts })
  }
  if (renewals.length >= manyAnHour) {
    const facts = { certificateId, withinHour: renewals.length }
    found.push({ ...of, kind: 'renewed-too-often', severity: 'warning', facts })
  }
  const address = mine?.address ?? undefined
  const other = renewals.find(
    (one) =>
      one.id !== certificateId && one.at.getTime() > now - minutesMs && isElsewhere(one, address),
  )
  if (address !== undefined && other) {
    const facts = { certificateId, address, otherAddress: other.address, other: other.id }
    found.push({ ...of, kind: 'renewed-elsewhere', severity: 'warning', facts })
  }
  return found
}

/** Of one family: a device that has both kinds of addresses may use either at any time. */
function isElsewhere(other: { address: string | null }, address: string | undefined): boolean {
  const there = networkOf(other.address ?? '')
  const here = networkOf(address ?? '')
  return here !== undefined && there?.family === here.family && there.network !== here.network
}

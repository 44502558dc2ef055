import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { lockVersion, type Versions } from '../version.ts'
import { getProfile, type Profile, saveIssuerSeries } from './store.ts'

/**
 * Lets another series of authorities issue to the devices of a profile: with their next enrollment or renewal they move. Saying the same
 * again changes nothing.
 *
 * @param command.series null is the default series
 * @throws DomainError `not-found`, `precondition-failed`, `not-ready` when nobody issues for the series
 */
export async function setIssuer(
  { db, clock, authorities }: Pick<Context, 'db' | 'clock' | 'authorities'>,
  command: {
    profileId: string
    series: string | null
    ifMatch?: Versions | undefined
    actor: string
    requestId: string
  },
): Promise<Profile> {
  const { profileId, series, ifMatch, actor, requestId } = command
  // Said now, and not to each device.
  authorities.deviceIssuer(series)
  return await inTransaction(db, async (tx) => {
    await lockVersion(tx, { table: 'enrollment_profile', id: profileId }, ifMatch)
    const before = await getProfile(tx, profileId)
    if (await saveIssuerSeries(tx, profileId, series)) {
      await recordAudit(tx, {
        at: clock.now(),
        actor,
        action: 'enrollment-profile.set-issuer',
        subject: profileId,
        facts: { from: before.issuer_series, to: series },
        requestId,
      })
    }
    return await getProfile(tx, profileId)
  })
}

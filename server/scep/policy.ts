import type { ScepLeniency } from '../../pki/scep/request.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { lockProfileById, type Profile } from '../enrollment/challenge.ts'
import { assertVersion, type Versions } from '../version.ts'
import { findScepPolicy, saveScepPolicy } from './store.ts'
import type { ScepPolicyBody } from './wire.ts'

export interface ScepPolicy extends Required<ScepLeniency> {
  enabled: boolean
  changedAt: Date | null
  /** 0: the default. */
  version: number
}

const off: ScepPolicy = {
  enabled: false,
  allowSha1: false,
  allowTripleDes: false,
  allowBer: false,
  changedAt: null,
  version: 0,
}

export async function scepPolicyOf(db: Db, profileId: string): Promise<ScepPolicy> {
  const row = await findScepPolicy(db, profileId)
  if (!row) return off
  return {
    enabled: row.enabled,
    allowSha1: row.allow_sha1,
    allowTripleDes: row.allow_triple_des,
    allowBer: row.allow_ber,
    changedAt: row.changed_at,
    version: row.version,
  }
}

export interface SetScepPolicy {
  profileId: string
  body: ScepPolicyBody
  ifMatch?: Versions | undefined
  actor: string
  requestId: string
}

/** Sets all of it. Saying the same again changes nothing. Throws DomainError `not-found`, `precondition-failed`. */
export async function setScepPolicy(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { profileId, body, ifMatch, actor, requestId }: SetScepPolicy,
): Promise<{ profile: Profile; policy: ScepPolicy }> {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const profile = await lockProfileById(tx, profileId)
    const { version, ...before } = await scepPolicyOf(tx, profileId)
    assertVersion(String(version), ifMatch)
    const isNew = await saveScepPolicy(tx, {
      profile_id: profileId,
      enabled: body.enabled,
      allow_sha1: body.allowSha1,
      allow_triple_des: body.allowTripleDes,
      allow_ber: body.allowBer,
      changed_at: now,
    })
    if (isNew) {
      const action = 'enrollment-profile.scep'
      await recordAudit(tx, {
        at: now,
        actor,
        action,
        subject: profileId,
        facts: { ...body, before },
        requestId,
      })
    }
    return { profile, policy: await scepPolicyOf(tx, profileId) }
  })
}

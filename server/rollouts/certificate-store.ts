import { type RawBuilder, type Selectable, type SqlBool, sql } from 'kysely'

import { isInUse, isNotRenewing, isWanted, mayComeFrom } from '../db/certificate-target.ts'
import type { Db } from '../db/client.ts'
import { isBounded, isTakenByPhase, type OpenPhase, openPhases } from '../db/open-phases.ts'
import { mayTakePart } from '../db/release-fit.ts'
import type { AuthorityTable } from '../db/schema.ts'

export async function findDeviceIssuer(
  db: Db,
  id: string,
): Promise<Pick<Selectable<AuthorityTable>, 'state' | 'series'> | undefined> {
  return await db
    .selectFrom('authority')
    .select(['state', 'series'])
    .where('id', '=', id)
    .where('purpose', '=', 'devices')
    .executeTakeFirst()
}

/** A device and a rollout that could tell it to renew. */
export interface RenewalCandidate {
  device_id: string
  rollout_id: string
  /** Which devices of the group it is for; null: all. */
  query: string | null
  seed: Buffer
  /** When the device was last heard of; null for one that never was before this contact. */
  seen_at: Date | null
  /** Is there anything that `claim.ts` has to count before the rollout admits somebody? */
  bounded: boolean
  open_phases: OpenPhase[] | null
}

/** In order of precedence, without a lock. Left out: rollouts that met the device before, and devices that renew already. */
export async function renewalCandidates(
  db: Db,
  deviceIds: readonly string[],
): Promise<RenewalCandidate[]> {
  const { rows } = await sql<RenewalCandidate>`
    select device.id as device_id, rollout.id as rollout_id, rollout.query, rollout.seed, ${isBounded()} as bounded,
      ${openPhases()} as open_phases, (select presence.last_seen_at
        from device_presence presence where presence.device_id = device.id) as seen_at
    from device
    join device_group_member member on member.device_id = device.id
    join rollout on rollout.group_id = member.group_id and rollout.state = 'running' and rollout.kind = 'certificate'
    join certificate on ${isInUse}
    join authority on authority.id = certificate.authority_id
    where device.id = any(${[...deviceIds]}::uuid[]) and ${mayTakePart()}
      and not ${isWanted('certificate')} and ${mayComeFrom()} and ${isNotRenewing()}
    order by device.id, rollout.pass_queue desc, rollout.priority desc, rollout.created_at, rollout.id`.execute(
    db,
  )
  return rows
}

/**
 * Is there a member of the rollout's group that it could still tell to renew: taken by an open phase, able to take part, and with a
 * certificate that is not what the rollout wants? Stops at the first one found.
 */
export async function someoneToRenew(
  db: Db,
  rolloutId: string,
  now: Date,
  matching: RawBuilder<SqlBool>,
): Promise<boolean> {
  const { rows } = await sql`
    select from rollout
    join device_group_member member on member.group_id = rollout.group_id
    join device on device.id = member.device_id
    join certificate on ${isInUse}
    join authority on authority.id = certificate.authority_id
    where rollout.id = ${rolloutId} and ${mayTakePart()}
      and not ${isWanted('certificate')} and ${mayComeFrom()} and certificate.not_after > ${now}
      and ${matching}
      and not exists (select from deployment met where met.device_id = device.id
        and met.rollout_id = rollout.id)
      and ${isTakenByPhase(now)}
    limit 1`.execute(db)
  return rows.length > 0
}

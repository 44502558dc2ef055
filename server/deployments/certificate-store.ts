import { type Selectable, sql } from 'kysely'

import { isWanted } from '../db/certificate-target.ts'
import type { Tx } from '../db/client.ts'
import type { DeploymentTable } from '../db/schema.ts'
import { openStates } from '../protocol/deployment.ts'
import {
  certificateComponent,
  type CertificateFacts,
  renewingStates,
  reversibleStates,
} from './state.ts'

export type Renewal = Selectable<DeploymentTable> & CertificateFacts

/**
 * A certificate that the device used ended the one it replaces; a first one is used where it is issued. One that was revoked or put on
 * hold says nothing, but whoever is heard of after it, and after the connection that it ended, has used the new one.
 */
const isUsed = sql`(made.replaces_id is null or exists (
  select from certificate before where before.id = made.replaces_id and (
    'superseded' in (before.state, before.held_state)
    or (before.state in ('revoked', 'held') and exists (select from device_presence presence
      where presence.device_id = made.device_id and presence.last_seen_at > before.revoked_at + interval '1 minute')))))`

const facts = sql<CertificateFacts>`
  exists (select from certificate made where made.device_id = deployment.device_id and made.kind = 'device'
    and made.state = 'issued' and ${isWanted('made')}) as "isIssued",
  exists (select from certificate made where made.device_id = deployment.device_id and made.kind = 'device'
    and made.state = 'issued' and ${isWanted('made')} and ${isUsed}) as "isUsed",
  exists (select from certificate made where made.device_id = deployment.device_id and made.kind = 'device'
    and made.state = 'issued' and made.created_at >= deployment.created_at
    and not ${isWanted('made')} and ${isUsed}) as "isAstray"`

/** The renewals of these devices that may move, with what is known of their certificates; rows that somebody works on are left out. */
export async function lockRenewals(tx: Tx, deviceIds: readonly string[]): Promise<Renewal[]> {
  const states = sql.join([...openStates, ...reversibleStates].map((state) => sql.lit(state)))
  const { rows } = await sql<Renewal>`
    select deployment.*, ${facts}
    from deployment join rollout on rollout.id = deployment.rollout_id
    where deployment.device_id = any(${[...deviceIds]}::uuid[])
      and deployment.component = ${certificateComponent} and deployment.state in (${states})
    order by deployment.id for update of deployment skip locked`.execute(tx)
  return rows
}

/** Open renewals after `after`, in order: for looking at all of them, page by page. */
export async function lockRenewalsAfter(tx: Tx, after: string, limit: number): Promise<Renewal[]> {
  const states = sql.join(openStates.map((state) => sql.lit(state)))
  const { rows } = await sql<Renewal>`
    select deployment.*, ${facts}
    from deployment join rollout on rollout.id = deployment.rollout_id
    where deployment.release_id is null and deployment.state in (${states}) and deployment.id > ${after}
    order by deployment.id limit ${limit} for update of deployment skip locked`.execute(tx)
  return rows
}

/** Those that a device was to be told of, or to renew for. */
export async function lockRenewing(
  tx: Tx,
  deviceIds: readonly string[],
): Promise<Selectable<DeploymentTable>[]> {
  return await tx
    .selectFrom('deployment')
    .selectAll()
    .where('device_id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .where('component', '=', certificateComponent)
    .where('state', 'in', renewingStates)
    .orderBy('id')
    .forUpdate()
    .execute()
}

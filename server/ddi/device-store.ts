import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { isMet } from '../db/release-fit.ts'
import type { DdiActionTable } from '../db/schema.ts'
import { type WindowFacts, windowFacts } from '../db/window-facts.ts'
import type { DdiProfile } from '../protocol/ddi.ts'
import { type DeploymentState, endedStates } from '../protocol/deployment.ts'

export type Action = Selectable<DdiActionTable>

/** What is known of a device that polls, in one row. */
export interface Poller {
  device_id: string
  controller_id: string | null
  wants_attributes: boolean | null
  /** Since when the owner has agreed beforehand to whatever would ask. */
  auto_confirm_at: Date | null
  auto_confirm_by: string | null
  auto_confirm_remark: string | null
  managed: boolean
  model: string
  hardware_ids: string[]
  attributes: Readonly<Record<string, string | number | boolean>>
  is_described: boolean
  profile: DdiProfile
  component: string
  part: string
  version_attribute: string | null
  poll_seconds: number
  /** Is there a running rollout to a group of the device that has not met it? Whether it is for the device is not asked here. */
  may_be_met: boolean
  /** The newest action whose update was proven. */
  installed_action: number | null
  /** The newest action, open or closed. */
  action: Pick<
    Action,
    'id' | 'deployment_id' | 'started_at' | 'claimed_at' | 'closed_at' | 'messages'
  > | null
  deployment: {
    id: string
    state: DeploymentState
    attempts: number
    changed_at: Date
    first_offered_at: Date | null
    postponed_until: Date | null
    commit_nonce: string | null
    release_id: string
    component: string
    version: string
    build: number
    svn: number
    class: 'security' | 'feature' | 'config'
    advisory: unknown
    notes: string
    mixed_reason: unknown
    /** What runs of the component, as far as it is known. */
    runs_version: string | null
    rollout_policy: unknown
    model_policy: unknown
    override_until: Date | null
    /** Its release was withdrawn, or its rollout cancelled. */
    stopped: boolean
    /** Nobody begins while the rollout is paused, or a rule of its own stopped it. */
    paused: boolean
    /** Of the rollout. */
    seed: Buffer
    /** Who has a say in when the device may begin. */
    windows: WindowFacts
    /** What runs of the component is newer, as far as it is known. */
    overtaken: boolean
    sha256: string
    size: number
    artifact_name: string
    artifact_at: Date
  } | null
}

type Row = Omit<Poller, 'action' | 'deployment'> & { [K in `a_${string}` | `d_${string}`]: never }

const ended = sql.join(endedStates.map((state) => sql.lit(state)))

/**
 * The device with its product, its newest action, and the deployment that counts for it: the one of its open action; else of those
 * that are open and of the product's component, which is all that the client can write, a security release before others, then the
 * oldest. One statement, however many devices. Left out are
 * those that do not poll: neither their model nor their enrollment profile says so.
 */
export async function findPollers(db: Db, deviceIds: readonly string[]): Promise<Poller[]> {
  const { rows } = await sql<Row>`
    select device.id as device_id, polls.controller_id, polls.wants_attributes,
      polls.auto_confirm_at, polls.auto_confirm_by, polls.auto_confirm_remark,
      device.managed and device.managed_agreed as managed,
      product.model, product.profile, product.component, product.part, product.version_attribute, product.poll_seconds,
      coalesce(nullif(device.hardware_ids, '{}'), line.hardware_ids) as hardware_ids,
      device.attributes, device.model is not null as is_described,
      exists (select from device_group_member member join rollout on rollout.group_id = member.group_id and rollout.state = 'running'
        where member.device_id = device.id and not ${isMet()}) as may_be_met,
      (select past.id from ddi_action past join deployment proven on proven.id = past.deployment_id
        where past.device_id = device.id and proven.state = 'succeeded' order by past.id desc limit 1) as installed_action,
      newest.id as a_id, newest.deployment_id as a_deployment_id, newest.started_at as a_started_at,
      newest.claimed_at as a_claimed_at, newest.closed_at as a_closed_at, newest.messages as a_messages,
      next.*
    from device
    left join ddi_device polls on polls.device_id = device.id
    left join ddi_line line on line.enrollment_profile_id = device.enrollment_profile_id
    join ddi_product product on product.model = coalesce(device.model, line.model)
    left join lateral (select * from ddi_action a where a.device_id = device.id order by a.id desc limit 1) newest on true
    left join lateral (
      select deployment.id as d_id, deployment.state as d_state, deployment.attempts as d_attempts,
        deployment.changed_at as d_changed_at, deployment.first_offered_at as d_first_offered_at,
        deployment.postponed_until as d_postponed_until, deployment.commit_nonce as d_commit_nonce,
        release.id as d_release_id, release.component as d_component, release.version as d_version, release.build as d_build,
        release.svn as d_svn, release.class as d_class, release.advisory as d_advisory, release.notes as d_notes, release.mixed_reason as d_mixed_reason,
        (select runs.version from jsonb_to_recordset(device.installed) runs(component text, version text)
          where runs.component = release.component limit 1) as d_runs_version,
        rollout.policy as d_rollout_policy, model.policy as d_model_policy, artifact.sha256 as d_sha256,
        artifact.size as d_size, artifact.name as d_artifact_name, artifact.created_at as d_artifact_at,
        (select override.until from update_override override where override.deployment_id = deployment.id
          and override.approved_at is not null and override.revoked_at is null) as d_override_until,
        release.state = 'withdrawn' or rollout.state = 'cancelled' as d_stopped,
        rollout.state in ('paused', 'failed') as d_paused, rollout.seed as d_seed, ${windowFacts()} as d_windows,
        exists (select from jsonb_to_recordset(device.installed) runs(component text, build bigint, svn bigint)
          where runs.component = release.component and (runs.build > release.build or runs.svn > release.svn)) as d_overtaken
      from deployment
      join release on release.id = deployment.release_id
      join rollout on rollout.id = deployment.rollout_id
      join model on model.name = release.model
      join artifact on artifact.id = release.artifact_id
      where deployment.device_id = device.id and case
        when newest.id is not null and newest.closed_at is null then deployment.id = newest.deployment_id
        else deployment.state not in (${ended}) and release.state = 'published' and release.component = product.component end
      order by (release.class = 'security') desc, deployment.created_at limit 1) next on true
    where device.id = any(${[...deviceIds]}::uuid[]) and device.state = 'active'`.execute(db)
  return rows.map((row) => pollerOf(row as unknown as Record<string, unknown>))
}

export async function findPoller(db: Db, deviceId: string): Promise<Poller | undefined> {
  return (await findPollers(db, [deviceId]))[0]
}

/** Columns with a prefix are an object of their own. */
function pollerOf(row: Record<string, unknown>): Poller {
  const own = Object.entries(row).filter(([name]) => !/^[ad]_/.test(name))
  const part = (prefix: string) => {
    const entries = Object.entries(row).filter(([name]) => name.startsWith(prefix))
    return row[`${prefix}id`] === null
      ? null
      : Object.fromEntries(entries.map(([name, value]) => [name.slice(prefix.length), value]))
  }
  return {
    ...Object.fromEntries(own),
    action: part('a_'),
    deployment: part('d_'),
  } as unknown as Poller
}

export async function findByController(db: Db, controllerId: string): Promise<string | undefined> {
  const row = await db
    .selectFrom('ddi_device')
    .select('device_id')
    .where('controller_id', '=', controllerId)
    .executeTakeFirst()
  return row?.device_id
}

export async function isDeviceId(db: Db, text: string): Promise<boolean> {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) return false
  const row = await db.selectFrom('device').select('id').where('id', '=', text).executeTakeFirst()
  return row !== undefined
}

/** Returns false when another device has this name. */
export async function savePoller(
  tx: Tx,
  row: { device_id: string; controller_id: string; created_at: Date },
): Promise<boolean> {
  const { rows } = await sql`
    insert into ddi_device (device_id, controller_id, created_at)
    select ${row.device_id}, ${row.controller_id}, ${row.created_at}
    where not exists (select from ddi_device where controller_id = ${row.controller_id} and device_id <> ${row.device_id})
    on conflict (device_id) do update set controller_id = excluded.controller_id
    returning device_id`.execute(tx)
  return rows.length > 0
}

export async function setWantsAttributes(tx: Tx, deviceId: string, wants: boolean): Promise<void> {
  await tx
    .updateTable('ddi_device')
    .set({ wants_attributes: wants })
    .where('device_id', '=', deviceId)
    .where('wants_attributes', '<>', wants)
    .execute()
}

/** Undefined ends it. Says whether that changed anything. */
export async function setAutoConfirm(
  tx: Tx,
  deviceId: string,
  set: { at: Date; by: string | null; remark: string | null } | undefined,
): Promise<boolean> {
  const row = await tx
    .updateTable('ddi_device')
    .set({
      auto_confirm_at: set?.at ?? null,
      auto_confirm_by: set?.by ?? null,
      auto_confirm_remark: set?.remark ?? null,
    })
    .where('device_id', '=', deviceId)
    .where('auto_confirm_at', set ? 'is' : 'is not', null)
    .returning('device_id')
    .executeTakeFirst()
  return row !== undefined
}

export interface InstalledAction {
  action: Pick<Action, 'id' | 'messages'>
  deployment: Pick<
    NonNullable<Poller['deployment']>,
    'artifact_name' | 'version' | 'component' | 'size' | 'sha256'
  >
}

/** An action of the device whose update was proven. */
export async function findInstalled(
  db: Db,
  deviceId: string,
  actionId: number,
): Promise<InstalledAction | undefined> {
  const row = await db
    .selectFrom('ddi_action as action')
    .innerJoin('deployment', 'deployment.id', 'action.deployment_id')
    .innerJoin('release', 'release.id', 'deployment.release_id')
    .innerJoin('artifact', 'artifact.id', 'release.artifact_id')
    .select(['action.id', 'action.messages', 'release.component', 'release.version'])
    .select(['artifact.sha256', 'artifact.size', 'artifact.name as artifact_name'])
    .where('action.device_id', '=', deviceId)
    .where('action.id', '=', actionId)
    .where('deployment.state', '=', 'succeeded')
    .executeTakeFirst()
  if (!row) return undefined
  const { id, messages, ...deployment } = row
  return { action: { id, messages }, deployment }
}

/** Locked until the transaction ends. */
export async function lockAction(
  tx: Tx,
  deviceId: string,
  id: number,
): Promise<Action | undefined> {
  return await tx
    .selectFrom('ddi_action')
    .selectAll()
    .where('device_id', '=', deviceId)
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst()
}

/** The newest action of the device, after waiting for whoever makes one. */
export async function lockNewestAction(tx: Tx, deviceId: string): Promise<Action | undefined> {
  await tx
    .selectFrom('ddi_device')
    .select('device_id')
    .where('device_id', '=', deviceId)
    .forUpdate()
    .executeTakeFirst()
  return await tx
    .selectFrom('ddi_action')
    .selectAll()
    .where('device_id', '=', deviceId)
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst()
}

export async function insertAction(
  tx: Tx,
  row: Pick<Action, 'device_id' | 'id' | 'deployment_id' | 'created_at'>,
): Promise<void> {
  await tx.insertInto('ddi_action').values(row).execute()
}

export async function updateAction(
  tx: Tx,
  { device_id, id }: Pick<Action, 'device_id' | 'id'>,
  set: Partial<Omit<Action, 'device_id' | 'id' | 'messages'>> & { messages?: string },
): Promise<void> {
  if (Object.keys(set).length === 0) return
  await tx
    .updateTable('ddi_action')
    .set(set)
    .where('device_id', '=', device_id)
    .where('id', '=', id)
    .execute()
}

export async function findDigests(
  db: Db,
  sha256: string,
): Promise<{ sha1: string; md5: string } | undefined> {
  return await db
    .selectFrom('ddi_digest')
    .select(['sha1', 'md5'])
    .where('sha256', '=', sha256)
    .executeTakeFirst()
}

export async function saveDigests(
  tx: Tx,
  row: { sha256: string; sha1: string; md5: string },
): Promise<void> {
  await tx
    .insertInto('ddi_digest')
    .values(row)
    .onConflict((oc) => oc.doNothing())
    .execute()
}

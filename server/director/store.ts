import { type RawBuilder, type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { isManaged } from '../db/managed.ts'
import type { DirectorStateTable, ReleaseTable } from '../db/schema.ts'
import {
  type Companion,
  missingCompanions,
  type OwnSettings,
  ownSettings,
} from '../db/update-set.ts'
import { type DeploymentState, endedStates } from '../protocol/deployment.ts'

export type DirectorState = Selectable<DirectorStateTable>

/** What a device shall run next, from one of its open deployments, and what was last signed for it. */
export interface DesiredRow {
  deviceId: string
  managed: boolean
  /** SHA-256 of the images that run, by the device's own word. */
  installed: string[]
  deployment:
    | {
        id: string
        rolloutPolicy: unknown
        modelPolicy: unknown
        /** What runs of the release's component. */
        runsVersion: string | null
        override: { by: string[]; reason: string; until: Date } | null
        release: Pick<
          Selectable<ReleaseTable>,
          | 'model'
          | 'component'
          | 'version'
          | 'class'
          | 'advisory'
          | 'notes'
          | 'mixed_reason'
          | 'metadata_version'
        >
        /** Releases that are installed with it and that the device does not run yet. */
        companions: Companion[]
        /** Nothing of it has begun on the device. */
        isWaiting: boolean
      }
    | undefined
  state: DirectorState | undefined
  /** Settings of its own that it shall have and has not said anything final about. */
  own: OwnSettings | null
}

/**
 * Of active devices only, in one statement. Releases that were withdrawn are no longer desired. A device is told of one
 * deployment at a time, whatever component it is for: of the one it works on; else of a security release before others;
 * else of the oldest. What its owner put off, or does not want, never stands before what it could install now.
 */
export async function readDesired(
  db: Db,
  deviceIds: readonly string[],
  now: Date,
): Promise<DesiredRow[]> {
  const rows = await db
    .selectFrom('device')
    .leftJoinLateral(
      (eb) =>
        eb
          .selectFrom('deployment')
          .innerJoin('release', 'release.id', 'deployment.release_id')
          .innerJoin('rollout', 'rollout.id', 'deployment.rollout_id')
          .innerJoin('model', 'model.name', 'release.model')
          .select(policyFacts)
          .select([
            runsVersion,
            overrideAt(now).as('override'),
            'deployment.id as deployment_id',
            'deployment.state as deployment_state',
            'rollout.policy as rollout_policy',
            'release.model',
            'release.component',
            'release.version',
            'release.class',
            'release.advisory',
            'release.metadata_version',
            missingCompanions().as('companions'),
          ])
          .whereRef('deployment.device_id', '=', 'device.id')
          .where(
            'deployment.state',
            'not in',
            sql<never>`(${sql.join(endedStates.map((state) => sql.lit(state)))})`,
          )
          .where('release.state', '=', 'published')
          .orderBy(turnOf(now))
          .orderBy(sql`release.class = 'security'`, 'desc')
          .orderBy('deployment.created_at')
          .orderBy('deployment.id')
          .limit(1)
          .as('next'),
      (join) => join.onTrue(),
    )
    .leftJoin('director_state as signed', 'signed.device_id', 'device.id')
    .where('device.id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .where('device.state', '=', 'active')
    .select(desiredColumns)
    .execute()
  return rows.map(desiredOf)
}

const policyFacts = [
  'model.policy as model_policy',
  'release.notes',
  'release.mixed_reason',
] as const

/** Approved by two, not taken back, and not over. */
function overrideAt(now: Date): RawBuilder<Joined['override']> {
  return sql`(select jsonb_build_object('by', one.approved_by, 'reason', one.reason, 'until', one.until)
    from update_override one where one.deployment_id = deployment.id
      and one.approved_at is not null and one.revoked_at is null and one.until > ${now}::timestamptz)`
}

const runsVersion = sql<string | null>`(select runs.version
  from jsonb_to_recordset(device.installed) runs(component text, version text)
  where runs.component = release.component limit 1)`.as('runs_version')

const desiredColumns = [
  'device.id',
  isManaged().as('managed'),
  'device.installed',
  'next.deployment_id',
  'next.rollout_policy',
  'next.model',
  'next.component',
  'next.version',
  'next.class',
  'next.advisory',
  'next.metadata_version',
  'next.companions',
  'next.deployment_state',
  ownSettings().as('own'),
  'next.model_policy',
  'next.notes',
  'next.mixed_reason',
  'next.runs_version',
  'next.override',
  'signed.targets_version',
  'signed.snapshot_version',
  'signed.targets',
  'signed.snapshot',
  'signed.content_hash',
  'signed.artifact_sha256s',
  'signed.expires_at',
  'signed.signed_at',
] as const

const waitingStates: readonly DeploymentState[] = ['queued', 'offered', 'postponed', 'opted_out']

/** A postponement that has run out is an offer again, also while the device has not said so. */
function turnOf(now: Date): RawBuilder<number> {
  return sql<number>`case
    when ${overrideAt(now)} is not null then 1
    when deployment.state = 'opted_out' then 3
    when deployment.state = 'postponed' and deployment.postponed_until > ${now}::timestamptz then 3
    when deployment.state in ('queued', 'offered', 'postponed') then 2
    when deployment.state = 'accepted' then 1
    else 0 end`
}

type Joined = { id: string; managed: boolean; installed: unknown } & {
  [K in keyof Omit<DirectorState, 'device_id'>]: DirectorState[K] | null
} & {
  deployment_id: string | null
  rollout_policy: unknown
  model: string | null
  component: string | null
  version: string | null
  class: 'security' | 'feature' | 'config' | null
  advisory: unknown
  metadata_version: number | null
  model_policy: unknown
  notes: string | null
  mixed_reason: unknown
  runs_version: string | null
  override: { by: string[]; reason: string; until: string } | null
  companions: Companion[] | null
  deployment_state: DeploymentState | null
  own: OwnSettings | null
}

function desiredOf(row: Joined): DesiredRow {
  const { id, managed, deployment_id: deploymentId, rollout_policy: rolloutPolicy } = row
  const { model, component, version, class: kind, advisory, metadata_version, companions } = row
  const { targets_version, snapshot_version, targets, snapshot, content_hash } = row
  const { artifact_sha256s, expires_at, signed_at } = row
  const isSigned =
    targets_version !== null &&
    snapshot_version !== null &&
    targets !== null &&
    snapshot !== null &&
    content_hash !== null &&
    artifact_sha256s !== null &&
    expires_at !== null &&
    signed_at !== null
  return {
    deviceId: id,
    managed,
    installed: hashesIn(row.installed),
    deployment:
      deploymentId !== null && model !== null && component !== null && version !== null && kind
        ? {
            id: deploymentId,
            rolloutPolicy,
            modelPolicy: row.model_policy,
            runsVersion: row.runs_version,
            override: row.override && {
              ...row.override,
              until: new Date(row.override.until),
            },
            release: {
              model,
              component,
              version,
              class: kind,
              advisory,
              notes: row.notes ?? '',
              mixed_reason: row.mixed_reason ?? null,
              metadata_version,
            },
            companions: companions ?? [],
            isWaiting: waitingStates.includes(row.deployment_state ?? 'accepted'),
          }
        : undefined,
    own: row.own,
    state: isSigned
      ? {
          device_id: id,
          targets_version,
          snapshot_version,
          targets,
          snapshot,
          content_hash,
          artifact_sha256s,
          expires_at,
          signed_at,
        }
      : undefined,
  }
}

/** As `hello` stored it. */
function hashesIn(installed: unknown): string[] {
  return (installed as { sha256?: string }[]).flatMap(({ sha256 }) => sha256 ?? [])
}

/** What was made of these bytes, deltas before zstd. */
export async function readForms(db: Db, targetSha256s: readonly string[]) {
  const rows = await db
    .selectFrom('delivery_form')
    .select(['target_sha256', 'method', 'base_sha256', 'sha256', 'length'])
    .select(['index_length', 'index_sha256'])
    .where('target_sha256', '=', sql<string>`any(${[...targetSha256s]}::text[])`)
    .where('state', '=', 'made')
    .orderBy('method')
    .orderBy('created_at')
    .orderBy('id')
    .execute()
  return rows.flatMap(({ sha256, length, ...form }) =>
    sha256 !== null && length !== null ? [{ ...form, sha256, length }] : [],
  )
}

/** A new state of a device, and the versions it was built on; none when it is the first. */
export interface StateChange {
  next: DirectorState
  before: Pick<DirectorState, 'targets_version' | 'snapshot_version'> | undefined
}

/** Stores what was signed where nothing else was meanwhile. Gives the ids of the devices for which it did. */
export async function saveStates(tx: Tx, changes: readonly StateChange[]): Promise<Set<string>> {
  const saved = new Set<string>()
  const first = changes.flatMap(({ next, before }) => (before ? [] : [next]))
  if (first.length > 0) {
    const rows = await tx
      .insertInto('director_state')
      .values(first)
      .onConflict((oc) => oc.column('device_id').doNothing())
      .returning('device_id')
      .execute()
    for (const row of rows) saved.add(row.device_id)
  }
  const later = changes.flatMap(({ next, before }) => (before ? [{ next, before }] : []))
  for (const id of await updateStates(tx, later)) saved.add(id)
  return saved
}

async function updateStates(tx: Tx, changes: readonly Required<StateChange>[]): Promise<string[]> {
  if (changes.length === 0) return []
  const incoming = JSON.stringify(
    changes.map(({ next, before }) => ({
      ...next,
      before_targets: before?.targets_version,
      before_snapshot: before?.snapshot_version,
    })),
  )
  const { rows } = await sql<{ device_id: string }>`
    update director_state set
      targets_version = incoming.targets_version, snapshot_version = incoming.snapshot_version,
      targets = incoming.targets, snapshot = incoming.snapshot,
      content_hash = incoming.content_hash, artifact_sha256s = incoming.artifact_sha256s,
      expires_at = incoming.expires_at, signed_at = incoming.signed_at
    from jsonb_to_recordset(${incoming}::jsonb) as incoming(
      device_id uuid, targets_version bigint, snapshot_version bigint, targets text, snapshot text,
      content_hash text, artifact_sha256s text[], expires_at timestamptz, signed_at timestamptz,
      before_targets bigint, before_snapshot bigint)
    where director_state.device_id = incoming.device_id
      and director_state.targets_version = incoming.before_targets
      and director_state.snapshot_version = incoming.before_snapshot
    returning director_state.device_id`.execute(tx)
  return rows.map((row) => row.device_id)
}

/** What was last signed for a device. */
export async function findState(db: Db, deviceId: string): Promise<DirectorState | undefined> {
  return await db
    .selectFrom('director_state')
    .selectAll()
    .where('device_id', '=', deviceId)
    .executeTakeFirst()
}

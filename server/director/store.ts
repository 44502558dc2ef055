import { type RawBuilder, type Selectable, sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { isManaged } from '../db/managed.ts'
import type { DirectorStateTable, ReleaseTable } from '../db/schema.ts'
import {
  type Companion,
  missingCompanions,
  type OwnSettings,
  ownSettings,
} from '../db/update-set.ts'
import { type WindowFacts, windowFacts } from '../db/window-facts.ts'
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
        /** Its owner has not answered either: the offer may be taken back, and made again. */
        isOffer: boolean
        /** Of the rollout: says where in a window the device has its place. */
        seed: Buffer
        windows: WindowFacts
      }
    | undefined
  state: DirectorState | undefined
  /** What is signed of the windows that count for it, set by `nextOfEach`. */
  window?: string[]
  /** Settings of its own that it shall have and has not said anything final about. */
  own: OwnSettings | null
}

/** A device has one for each component. */
const mostOpen = 8

/**
 * Of active devices only, in one statement: a row for each deployment that a device has open, or one without. Releases that
 * were withdrawn are no longer desired. In the order in which a device would be told of them, which is of one at a time,
 * whatever component it is for: of the one it works on; else of a security release before others; else of the oldest. What
 * its owner put off, or does not want, never stands before what it could install now.
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
            'rollout.seed',
            windowFacts().as('windows'),
            placeOf(now).as('place'),
          ])
          .whereRef('deployment.device_id', '=', 'device.id')
          .where(
            'deployment.state',
            'not in',
            sql<never>`(${sql.join(endedStates.map((state) => sql.lit(state)))})`,
          )
          .where('release.state', '=', 'published')
          .orderBy('place')
          .limit(mostOpen)
          .as('next'),
      (join) => join.onTrue(),
    )
    .leftJoin('director_state as signed', 'signed.device_id', 'device.id')
    .where('device.id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .where('device.state', '=', 'active')
    .select(desiredColumns)
    .orderBy('device.id')
    .orderBy('next.place')
    .execute()
  return rows.map(desiredOf)
}

const policyFacts = [
  'model.policy as model_policy',
  'release.notes',
  'release.mixed_reason',
] as const

/** Approved by enough, not taken back, and not over. What is signed names two: devices take no more. */
function overrideAt(now: Date): RawBuilder<Joined['override']> {
  return sql`(select jsonb_build_object('by', one.approved_by[1:2], 'reason', one.reason, 'until', one.until)
    from update_override one where one.deployment_id = deployment.id
      and one.approved_at is not null and one.revoked_at is null and one.until > ${now}::timestamptz)`
}

/** Nobody leaves a line who goes back to where they were. */
const runsVersion = sql<
  string | null
>`(select case when rollout.kind <> 'rollback' then runs.version end
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
  'next.seed',
  'next.windows',
  'signed.targets_version',
  'signed.snapshot_version',
  'signed.targets',
  'signed.snapshot',
  'signed.content_hash',
  'signed.artifact_sha256s',
  'signed.expires_at',
  'signed.signed_at',
] as const

const offerStates: readonly DeploymentState[] = ['queued', 'offered']
const waitingStates: readonly DeploymentState[] = [...offerStates, 'postponed', 'opted_out']

function placeOf(now: Date): RawBuilder<number> {
  return sql<number>`row_number() over (order by ${turnOf(now)},
    (release.class = 'security') desc, deployment.created_at, deployment.id)`
}

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
  seed: Buffer | null
  windows: WindowFacts | null
  deployment_state: DeploymentState | null
  own: OwnSettings | null
}

function desiredOf(row: Joined): DesiredRow {
  const { id, managed, deployment_id: deploymentId, rollout_policy: rolloutPolicy } = row
  const { model, component, version, class: kind, advisory, metadata_version, companions } = row
  const { targets_version, snapshot_version, targets, snapshot, content_hash } = row
  const { seed, windows } = row
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
      deploymentId !== null &&
      model !== null &&
      component !== null &&
      version !== null &&
      kind &&
      seed &&
      windows
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
            isOffer: offerStates.includes(row.deployment_state ?? 'accepted'),
            seed,
            windows,
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

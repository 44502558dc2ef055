import { type RawBuilder, type SqlBool, sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { isBounded, isTakenByPhase, type OpenPhase, openPhases } from '../db/open-phases.ts'
import {
  hasBegun,
  hasFirstStep,
  failureColumns,
  type Failures,
  isExpiring,
  isMet,
  mayTakePart,
  needsStep,
  notAgain,
  unfitness,
} from '../db/release-fit.ts'
import { type WindowFacts, windowFacts } from '../db/window-facts.ts'
import { type DeploymentState, endedStates } from '../protocol/deployment.ts'

/** A rollout and a device that is in its group, whatever share is open. */
export interface Candidate extends Failures {
  device_id: string
  rollout_id: string
  release_id: string
  kind: 'update' | 'retry' | 'rollback' | 'certificate'
  priority: number
  pass_queue: boolean
  /** Which devices of the group it is for; null: all. */
  query: string | null
  model: string
  component: string
  build: number
  svn: number
  class: 'security' | 'feature' | 'config'
  version: string
  min_previous: number | null
  requires: Readonly<Record<string, number>>
  release_hardware_ids: string[]
  /** What runs of the component; null when nothing does. */
  runs_version: string | null
  seed: Buffer
  /** In order; of a draft the first, which its start opens. */
  open_phases: OpenPhase[] | null
  /** The phase that the device is counted in since it took a step of this rollout; null for one that is yet to begin. */
  begun_phase: number | null
  /** When the device was last heard of; null for one that never was before this contact. */
  seen_at: Date | null
  /** Is there anything that `claim.ts` has to count before the rollout admits somebody? */
  bounded: boolean
  /** When updates may begin on the device, by all who have a say. */
  windows: WindowFacts
  /** The deployment of the same component that the device has open. */
  open: {
    id: string
    state: DeploymentState
    build: number
    version: string
    class: 'security' | 'feature' | 'config'
  } | null
  /** Why the release is not for the device (db/release-fit.ts); null when it is. */
  unfit: string | null
  /** The device's newest certificate ends before an update surely would. */
  expiring: boolean
  /** Set when another release has to come in between. */
  standing: {
    hardware_ids: string[]
    installed: { component: string; version: string; build: number; svn: number }[]
    rolled_back: string[]
  } | null
}

const ended = sql.join(endedStates.map((state) => sql.lit(state)))

const columns = (now: Date) => sql`
  device.id as device_id, rollout.id as rollout_id, release.id as release_id, rollout.kind, rollout.priority, rollout.query,
  rollout.pass_queue and release.class = 'security' as pass_queue,
  release.model, release.component, release.build, release.svn, release.class, release.version, release.min_previous,
  release.requires, release.hardware_ids as release_hardware_ids, rollout.seed,
  (select runs.version from jsonb_to_recordset(device.installed) runs(component text, version text)
    where runs.component = release.component limit 1) as runs_version,
  ${openPhases()} as open_phases,
  (select min(begun.phase_no) from deployment begun
    where begun.rollout_id = rollout.id and begun.device_id = device.id) as begun_phase,
  (select presence.last_seen_at from device_presence presence where presence.device_id = device.id) as seen_at,
  ${isBounded()} as bounded, ${windowFacts()} as windows,
  (select jsonb_build_object('id', other.id, 'state', other.state, 'build', runs.build,
      'version', runs.version, 'class', runs.class)
    from deployment other join release runs on runs.id = other.release_id
    where other.device_id = device.id and other.component = release.component
      and other.state not in (${ended}) limit 1) as open,
  ${isExpiring(now)} as expiring, ${failureColumns(now)},
  case when ${needsStep()} then jsonb_build_object('hardware_ids', to_jsonb(device.hardware_ids),
    'installed', device.installed, 'rolled_back', ${notAgain()}) end as standing`

/** What passes the queue, then by priority, then security releases, then older rollouts. */
const inOrder = sql`order by device.id, (rollout.pass_queue and release.class = 'security') desc, rollout.priority desc, (release.class = 'security') desc,
  rollout.created_at, rollout.id`

/**
 * What running rollouts could be offered to these devices, in one statement and without a lock, in order of precedence. Left
 * out: rollouts that met the device before, and releases that are not for it.
 */
export async function candidatesFor(
  db: Db,
  deviceIds: readonly string[],
  now: Date,
): Promise<Candidate[]> {
  const { rows } = await sql<Candidate>`
    select ${columns(now)}, null as unfit
    from device
    join device_group_member member on member.device_id = device.id
    join rollout on rollout.group_id = member.group_id and rollout.state = 'running'
    join release on release.id = ${releaseFor()} and release.state = 'published'
      and release.model = device.model
    where device.id = any(${[...deviceIds]}::uuid[])
      and not ${isMet()}
      and ${unfitness()} is null
    ${inOrder}`.execute(db)
  return rows
}

/** The same about one device and these rollouts, whatever speaks against it. */
export async function candidatesAnyway(
  db: Db,
  deviceId: string,
  rolloutIds: readonly string[],
  now: Date,
): Promise<Candidate[]> {
  const { rows } = await sql<Candidate>`
    select ${columns(now)}, ${unfitness()} as unfit
    from device
    join rollout on rollout.id = any(${[...rolloutIds]}::uuid[])
    join release on release.id = coalesce(${releaseFor()}, rollout.release_id)
    where device.id = ${deviceId}
    ${inOrder}`.execute(db)
  return rows
}

/** A published release, as much of it as decides from where it may be installed. */
export interface StepRelease {
  id: string
  component: string
  version: string
  build: number
  svn: number
  class: 'security' | 'feature' | 'config'
  min_previous: number | null
  hardware_ids: string[]
  requires: Readonly<Record<string, number>>
}

const mostSteps = 200

/**
 * The published releases of a component that the signed list of its model holds (a release that fell out of it cannot be
 * offered), below a build; the newest of them when there are very many.
 */
export async function stepsBelow(
  db: Db,
  { model, component, build }: { model: string; component: string; build: number },
): Promise<StepRelease[]> {
  const { rows } = await sql<StepRelease>`
    with listed as (
      select signed::jsonb->'targets' as targets from metadata_file
      where repository = 'image' and role = ${`fw-${model}`} and state = 'published'
      order by version desc limit 1)
    select id, component, version, build, svn, class, min_previous, hardware_ids, requires
    from release
    where model = ${model} and component = ${component} and build < ${build} and state = 'published'
      and coalesce((select listed.targets ? ('fw/' || model || '/' || version || '/' || component || '.bin')
        from listed), true)
    order by build desc limit ${mostSteps}`.execute(db)
  return rows
}

/** What a rollout gives `device`: a rollout back gives each what it had before. */
function releaseFor(): RawBuilder<string> {
  return sql<string>`case when rollout.kind = 'rollback' then (select target.release_id from rollback_target target
    where target.rollout_id = rollout.id and target.device_id = device.id) else rollout.release_id end`
}

/**
 * Is there a member of the rollout's group that it could still meet: one that `matching` finds, taken by an open
 * phase or on its way already, able to take part (or registered and still to enroll), and either never heard of or one that the release fits,
 * if need be by a step in between? Who was not seen lately is not waited for by a phase that takes only those who were.
 * Stops at the first one found. Who was met falls out first (`offset 0`): when a rollout comes to its end that is nearly everybody, and
 * what else is asked costs much more.
 */
export async function someoneToMeet(
  db: Db,
  rolloutId: string,
  now: Date,
  matching: RawBuilder<SqlBool> = sql<SqlBool>`true`,
): Promise<boolean> {
  const { rows } = await sql`
    select from rollout
    cross join lateral (select device.* from device_group_member member join device on device.id = member.device_id
      where member.group_id = rollout.group_id and not ${isMet()} offset 0) device
    join release on release.id = ${releaseFor()} and release.state = 'published'
    where rollout.id = ${rolloutId}
      and (device.state = 'registered' or (device.model is null and ${mayTakePart()})
        or (${unfitness()} is null and (not ${needsStep()} or ${hasFirstStep()})))
      and ${matching}
      and (${hasBegun()} or ${isTakenByPhase(now)})
    limit 1`.execute(db)
  return rows.length > 0
}

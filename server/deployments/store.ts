import { type Insertable, type RawBuilder, type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { withinReach } from '../db/reach.ts'
import type { DeploymentEventTable, DeploymentTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import { type DeploymentState, passedStates } from '../protocol/deployment.ts'
import type { Reach } from '../protocol/reach.ts'

export type Deployment = Selectable<DeploymentTable>
export type DeploymentEvent = Selectable<DeploymentEventTable>
export type NewDeployment = Insertable<DeploymentTable> & { state: DeploymentState }

/** One entry of a deployment's history. `from_state` is null for its first. */
export type Step = Omit<DeploymentEvent, 'seq' | 'deployment_id' | 'at' | keyof Proof> &
  Partial<Proof>

/** What the device signed, with the key of which certificate. */
export type Proof = Pick<DeploymentEvent, 'proof' | 'proof_certificate'>

/** A deployment as it is to become, and how it got there. `rev` is the one that was read. */
export interface Change {
  before: Deployment
  after: Deployment
  steps: readonly Step[]
}

const columns = sql`
  id uuid, rev int, state text, attempts int, progress int, code text, detail text, commit_nonce text,
  first_offered_at timestamptz, postponed_until timestamptz, postpone_count int`

/**
 * Writes changed deployments, their history and the counts in three statements, however many they are. Compare-and-set on
 * `rev`; throws `conflict`, so that nothing of the transaction stands, when a row moved since it was read.
 */
export async function saveChanges(tx: Tx, changes: readonly Change[], now: Date): Promise<void> {
  if (changes.length === 0) return
  const rows = JSON.stringify(changes.map(({ before, after }) => ({ ...after, rev: before.rev })))
  const saved = await tx
    .updateTable('deployment')
    .from(sql<Deployment>`jsonb_to_recordset(${rows}::jsonb)`.as<'next'>(sql`next(${columns})`))
    .set((eb) => ({
      state: eb.ref('next.state'),
      rev: sql<number>`deployment.rev + 1`,
      attempts: eb.ref('next.attempts'),
      progress: eb.ref('next.progress'),
      code: eb.ref('next.code'),
      detail: eb.ref('next.detail'),
      commit_nonce: eb.ref('next.commit_nonce'),
      first_offered_at: eb.ref('next.first_offered_at'),
      postponed_until: eb.ref('next.postponed_until'),
      postpone_count: eb.ref('next.postpone_count'),
      changed_at: now,
    }))
    .whereRef('deployment.id', '=', 'next.id')
    .whereRef('deployment.rev', '=', 'next.rev')
    .executeTakeFirst()
  if (Number(saved.numUpdatedRows) !== changes.length) {
    throw new DomainError('conflict', 'A deployment changed meanwhile')
  }
  await insertSteps(
    tx,
    changes.flatMap(({ after, steps }) =>
      steps.map((step) => ({ ...step, deployment_id: after.id })),
    ),
    now,
  )
  await adjustCounts(
    tx,
    changes.flatMap(({ before, after }) => [
      { ...before, n: -1 },
      { ...after, n: 1 },
    ]),
  )
}

/**
 * Writes new deployments in three statements. Leaves out, silently, devices that have a row of that rollout and release or an
 * open deployment of that component already. Returns those that were written.
 */
export async function insertDeployments(
  tx: Tx,
  rows: readonly NewDeployment[],
  now: Date,
): Promise<Deployment[]> {
  if (rows.length === 0) return []
  const inserted = await tx
    .insertInto('deployment')
    .values(rows.map((row) => ({ ...row, from_build: runningBuild(row) })))
    // Any unique index: deployment_once (of a step: unless it is behind, as `isMet` says) or deployment_open.
    .onConflict((oc) => oc.doNothing())
    .returningAll()
    .execute()
  await insertSteps(
    tx,
    inserted.map(({ id, state }) => ({ ...firstStep, deployment_id: id, to_state: state })),
    now,
  )
  await adjustCounts(
    tx,
    inserted.map((row) => ({ ...row, n: 1 })),
  )
  return inserted
}

/** Did the device get the same of the same rollout once more, after this one was taken back? */
export async function isGivenAgain(
  db: Db,
  { id, rollout_id, device_id, release_id }: Deployment,
): Promise<boolean> {
  const row = await db
    .selectFrom('deployment')
    .select('id')
    .where('rollout_id', '=', rollout_id)
    .where('device_id', '=', device_id)
    .where('release_id', '=', release_id)
    .where('id', '<>', id)
    .limit(1)
    .executeTakeFirst()
  return row !== undefined
}

/** What runs of the component as the device last said: where it can go back to. */
function runningBuild({ device_id, component }: NewDeployment): RawBuilder<number | null> {
  return sql<number | null>`(select runs.build
    from device, jsonb_to_recordset(device.installed) runs(component text, build bigint)
    where device.id = ${device_id}::uuid and runs.component = ${component} limit 1)`
}

const firstStep = {
  from_state: null,
  actor: 'engine',
  code: null,
  detail: null,
  reported_at: null,
} as const

async function insertSteps(
  tx: Tx,
  steps: readonly (Step & { deployment_id: string })[],
  now: Date,
): Promise<void> {
  if (steps.length === 0) return
  const rows = JSON.stringify(steps.map((step, n) => ({ ...step, n })))
  await tx
    .insertInto('deployment_event')
    .columns([
      'deployment_id',
      'from_state',
      'to_state',
      'actor',
      'code',
      'detail',
      'reported_at',
      'proof',
      'proof_certificate',
      'at',
    ])
    .expression((eb) =>
      eb
        .selectFrom(
          sql<DeploymentEvent & { n: number }>`jsonb_to_recordset(${rows}::jsonb)`.as<'step'>(
            sql`step(n int, deployment_id uuid, from_state text, to_state text, actor text, code text,
              detail text, reported_at timestamptz, proof text, proof_certificate text)`,
          ),
        )
        .select([
          'deployment_id',
          'from_state',
          'to_state',
          'actor',
          'code',
          'detail',
          'reported_at',
          'proof',
          'proof_certificate',
        ])
        .select(sql<Date>`${now}::timestamptz`.as('at'))
        .where(hasRoom)
        .orderBy('n'),
    )
    .execute()
}

const longestHistory = 500

/**
 * Only an offer that is taken up and turned down again can go on for ever; everything else is bounded by tries and
 * postponements. Past the longest history such moves are made and not recorded.
 */
const hasRoom = sql<boolean>`case when step.to_state in ('offered', 'opted_out') then (
  select count(*) from (select from deployment_event past where past.deployment_id = step.deployment_id
    limit ${sql.lit(longestHistory)}) recorded) < ${sql.lit(longestHistory)} else true end`

/** Each connection adds to a shard of its own, mostly, so that two transactions seldom wait for each other's counts. */
const shards = 8

const isPassed = (state: DeploymentState) => passedStates.some((one) => one === state)

async function adjustCounts(
  tx: Tx,
  moved: readonly (Pick<Deployment, 'rollout_id' | 'phase_no' | 'is_step' | 'state'> & {
    n: number
  })[],
): Promise<void> {
  const deltas = new Map<string, number>()
  for (const { rollout_id, phase_no, is_step, state, n } of moved) {
    // A step on the way says nothing about the release that it leads to: the device counts once, with that one, or where it failed.
    if (is_step && isPassed(state)) continue
    const key = `${rollout_id} ${phase_no} ${state}`
    deltas.set(key, (deltas.get(key) ?? 0) + n)
  }
  const rows = [...deltas].filter(([, n]) => n !== 0)
  if (rows.length === 0) return
  // In one order everywhere: two transactions on the same shard wait for each other, but never in a circle.
  const sorted = rows
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, n]) => [...key.split(' '), n])
  await tx
    .insertInto('deployment_count')
    .columns(['rollout_id', 'phase_no', 'state', 'shard', 'n'])
    .expression((eb) =>
      eb
        .selectFrom(
          sql<{ value: unknown }>`jsonb_array_elements(${JSON.stringify(sorted)}::jsonb)`.as(
            'delta',
          ),
        )
        .select([
          sql<string>`(value->>0)::uuid`.as('rollout_id'),
          sql<number>`(value->>1)::int`.as('phase_no'),
          sql<string>`value->>2`.as('state'),
          sql<number>`pg_backend_pid() % ${sql.lit(shards)}`.as('shard'),
          sql<number>`(value->>3)::int`.as('n'),
        ]),
    )
    .onConflict((oc) =>
      oc
        .columns(['rollout_id', 'phase_no', 'state', 'shard'])
        .doUpdateSet({ n: sql`deployment_count.n + excluded.n` }),
    )
    .execute()
}

export async function getDeployment(db: Db, id: string, reach: Reach): Promise<Deployment> {
  const row = await db
    .selectFrom('deployment')
    .selectAll()
    .where('id', '=', id)
    .where(withinReach('deployment.device_id', reach))
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such deployment', { deploymentId: id })
  return row
}

/** With room for the end of one that was opted out of too often to be recorded. */
const longestShown = longestHistory + 500

export async function historyOf(db: Db, id: string): Promise<DeploymentEvent[]> {
  return await db
    .selectFrom('deployment_event')
    .selectAll()
    .where('deployment_id', '=', id)
    .orderBy('seq')
    .limit(longestShown)
    .execute()
}

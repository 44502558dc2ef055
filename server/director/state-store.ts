import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { DirectorStateTable } from '../db/schema.ts'

type DirectorState = Selectable<DirectorStateTable>

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

import { sql } from 'kysely'

import type { Tx } from '../db/client.ts'
import { isAttackCode } from './codes.ts'
import type { Change, Deployment } from './store.ts'

type Kind = 'timeout' | 'dark' | 'rejected'

/** What the abort rules tell apart within a state (rollouts.md §7); undefined for what they do not. */
export function kindOf({ state, code }: Pick<Deployment, 'state' | 'code'>): Kind | undefined {
  if (state === 'lost') return code === 'timeout' || code === 'dark' ? code : undefined
  if (state !== 'failed_final') return undefined
  return code === 'declined' || code === 'incompatible' || isAttackCode(code)
    ? 'rejected'
    : undefined
}

/** As the counts by state have it: writers on different connections mostly touch different rows. */
const shards = 8

/** Keeps the counts by kind right, in the transaction of `saveChanges`; no statement where there is nothing of the sort. */
export async function countKinds(tx: Tx, changes: readonly Change[]): Promise<void> {
  const deltas = new Map<string, number>()
  const add = (row: Deployment, n: number) => {
    const kind = kindOf(row)
    if (!kind) return
    const key = `${row.rollout_id} ${row.phase_no} ${kind}`
    deltas.set(key, (deltas.get(key) ?? 0) + n)
  }
  for (const { before, after } of changes) {
    add(before, -1)
    add(after, 1)
  }
  const rows = [...deltas].filter(([, n]) => n !== 0)
  if (rows.length === 0) return
  // In one order everywhere, so that two transactions never wait for each other in a circle.
  const sorted = rows
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, n]) => [...key.split(' '), n])
  await sql`
    insert into deployment_code_count as kept (rollout_id, phase_no, kind, shard, n)
    select (value->>0)::uuid, (value->>1)::int, value->>2, pg_backend_pid() % ${sql.lit(shards)}, (value->>3)::int
    from jsonb_array_elements(${JSON.stringify(sorted)}::jsonb)
    on conflict (rollout_id, phase_no, kind, shard) do update set n = kept.n + excluded.n`.execute(
    tx,
  )
}

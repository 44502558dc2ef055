import { sql } from 'kysely'

import type { Tx } from '../db/client.ts'

/** Whether each of these devices has opted out of updates for good, locked until the transaction ends. */
export async function lockStandingChoices(
  tx: Tx,
  deviceIds: readonly string[],
): Promise<Map<string, boolean>> {
  const rows = await tx
    .selectFrom('device')
    .select(['id', 'update_opt_out'])
    .where('id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .orderBy('id')
    // Not `for update`: that would make every new deployment of the device wait, for its foreign key.
    .forNoKeyUpdate()
    .execute()
  return new Map(rows.map((row) => [row.id, row.update_opt_out]))
}

/**
 * The owner's standing choice about updates (updates.md §7.2), for several devices in one statement. The caller writes the
 * ledger (deployments/ledger.ts) in the same transaction. `changed_at` stays as it is: deadlines of deployments run from it
 * (deployments/end-store.ts), and a device that changes its mind over and over must not put them off.
 */
export async function setStandingChoices(
  tx: Tx,
  choices: ReadonlyMap<string, boolean>,
): Promise<void> {
  if (choices.size === 0) return
  const out = [...choices].filter(([, optOut]) => optOut).map(([deviceId]) => deviceId)
  await tx
    .updateTable('device')
    .set({ update_opt_out: sql<boolean>`id = any(${out}::uuid[])` })
    .where('id', '=', sql<string>`any(${[...choices.keys()]}::uuid[])`)
    .execute()
}

/**
 * The owner's choice about logging and monitoring, for several devices in one statement. Returns the devices for which it is another one now. The caller writes
 * the ledger in the same transaction.
 */
export async function setMonitoring(
  tx: Tx,
  choices: ReadonlyMap<string, { off: boolean }>,
): Promise<Set<string>> {
  if (choices.size === 0) return new Set()
  const off = [...choices].filter(([, choice]) => choice.off).map(([deviceId]) => deviceId)
  const { rows } = await sql<{
    id: string
  }>`update device set monitoring_off = (id = any(${off}::uuid[]))
    where id in (select id from device where id = any(${[...choices.keys()]}::uuid[]) order by id for no key update)
      and monitoring_off is distinct from (id = any(${off}::uuid[])) returning id`.execute(tx)
  return new Set(rows.map(({ id }) => id))
}

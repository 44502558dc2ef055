import type { Db, Tx } from '../db/client.ts'

export type Rewrap = (wrapped: Buffer, context: string) => Buffer

/** Wraps the keys of authorities and of requests for them anew. `contextOf` names the row a key belongs to. */
export async function rewrapAuthorityKeys(
  tx: Tx,
  rewrap: Rewrap,
  contextOf: (id: string) => string,
): Promise<number> {
  let count = 0
  for (const table of ['authority', 'authority_request'] as const) {
    const rows = await tx
      .selectFrom(table)
      .select(['id', 'wrapped_key'])
      .orderBy('id')
      .forUpdate()
      .execute()
    for (const { id, wrapped_key: wrapped } of rows) {
      if (!wrapped) continue
      const values = { wrapped_key: rewrap(wrapped, contextOf(id)) }
      if (table === 'authority') {
        await tx.updateTable('authority').set(values).where('id', '=', id).execute()
      } else {
        await tx.updateTable('authority_request').set(values).where('id', '=', id).execute()
      }
      count += 1
    }
  }
  return count
}

export async function rewrapServerKeys(
  tx: Tx,
  rewrap: Rewrap,
  contextOf: (certificateId: string) => string,
): Promise<number> {
  const rows = await tx
    .selectFrom('server_identity')
    .select(['certificate_id', 'wrapped_key'])
    .orderBy('certificate_id')
    .forUpdate()
    .execute()
  for (const { certificate_id: id, wrapped_key: wrapped } of rows) {
    await tx
      .updateTable('server_identity')
      .set({ wrapped_key: rewrap(wrapped, contextOf(id)) })
      .where('certificate_id', '=', id)
      .execute()
  }
  return rows.length
}

export async function setKekCheck(tx: Tx, check: Buffer, now: Date): Promise<void> {
  await tx.updateTable('installation').set({ kek_check: check, kek_rotated_at: now }).execute()
}

export async function readKekState(
  db: Db,
): Promise<{ kek_check: Buffer; kek_rotated_at: Date | null } | undefined> {
  return await db
    .selectFrom('installation')
    .select(['kek_check', 'kek_rotated_at'])
    .executeTakeFirst()
}

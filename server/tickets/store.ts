import type { Selectable } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { TlsTicketKeyTable } from '../db/ticket-tables.ts'

export type TicketKeyRow = Omit<Selectable<TlsTicketKeyTable>, 'is_only'>

export async function readTicketKey(db: Db): Promise<TicketKeyRow | undefined> {
  return await db
    .selectFrom('tls_ticket_key')
    .select(['version', 'wrapped_secret', 'made_at'])
    .executeTakeFirst()
}

/** The next one replaces the one before it and no other. Returns whether it did. */
export async function putTicketKey(tx: Tx, row: TicketKeyRow): Promise<boolean> {
  const put = await tx
    .insertInto('tls_ticket_key')
    .values(row)
    .onConflict((conflict) =>
      conflict
        .column('is_only')
        .doUpdateSet(row)
        .where('tls_ticket_key.version', '=', row.version - 1),
    )
    .executeTakeFirst()
  return (put.numInsertedOrUpdatedRows ?? 0n) > 0n
}

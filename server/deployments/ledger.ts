import { type Insertable, sql } from 'kysely'

import type { Tx } from '../db/client.ts'
import type { ChoiceEventTable } from '../db/schema.ts'

export type LedgerEntry = Omit<Insertable<ChoiceEventTable>, 'at'>

/** Appends to the ledger of what owners chose, in order, in one statement. The only writer of it. */
export async function recordChoices(
  tx: Tx,
  entries: readonly LedgerEntry[],
  now: Date,
): Promise<void> {
  if (entries.length === 0) return
  const rows = JSON.stringify(entries.map((entry, n) => ({ ...entry, n })))
  await tx
    .insertInto('choice_event')
    .columns(['device_id', 'deployment_id', 'choice', 'until', 'outcome', 'at'])
    .expression((eb) =>
      eb
        .selectFrom(
          sql<LedgerEntry & { n: number }>`jsonb_to_recordset(${rows}::jsonb)`.as<'entry'>(
            sql`entry(n int, device_id uuid, deployment_id uuid, choice text, until timestamptz, outcome text)`,
          ),
        )
        .select(['device_id', 'deployment_id', 'choice', 'until', 'outcome'])
        .select(sql<Date>`${now}::timestamptz`.as('at'))
        .orderBy('n'),
    )
    .execute()
}

import { type Insertable, sql } from 'kysely'

import type { Tx } from '../db/client.ts'
import type { ChoiceEventTable } from '../db/schema.ts'

export type LedgerEntry = Omit<Insertable<ChoiceEventTable>, 'at' | 'omitted'>

/** Of one device within an hour; what is past it is counted in one row. */
export const choicesPerHour = 60
const hourMs = 3_600_000

/**
 * Appends to the ledger of what owners chose, in order, in at most three statements. The only writer of it. A device that
 * never stops changing its mind must not fill the table: past `choicesPerHour` one row, which holds the newest choice, says
 * how many were not recorded. Accepting, and a postponement that was granted, is always recorded: there can only be so
 * many for one deployment, and limits are judged by them.
 */
export async function recordChoices(
  tx: Tx,
  entries: readonly LedgerEntry[],
  now: Date,
): Promise<void> {
  if (entries.length === 0) return
  const recent = await recentOf(tx, [...new Set(entries.map((entry) => entry.device_id))], now)
  const recorded: LedgerEntry[] = []
  const omitted = new Map<string, Omitted>()
  for (const entry of entries) {
    const past = recent.get(entry.device_id) ?? { n: 0, seq: null }
    if (past.n < choicesPerHour || isBounded(entry)) {
      past.n++
      recorded.push(entry)
    } else {
      const n = (omitted.get(entry.device_id)?.n ?? 0) + 1
      omitted.set(entry.device_id, { ...entry, n, seq: past.seq })
    }
    recent.set(entry.device_id, past)
  }
  const rest = [...omitted.values()]
  const first = rest.filter(({ seq }) => seq === null)
  await append(tx, [...recorded.map((entry) => ({ ...entry, n: null })), ...first], now)
  await addOmitted(tx, rest)
}

type Omitted = LedgerEntry & { n: number; seq: number | null }

function isBounded({ choice, outcome }: LedgerEntry): boolean {
  return outcome === 'applied' && (choice === 'accept' || choice === 'postpone')
}

function notRecorded(n: number): string {
  return n === 1 ? '1 choice not recorded' : `${n} choices not recorded`
}

/** How many were recorded of each of these devices in the last hour, and the row that stands for the others. */
async function recentOf(
  tx: Tx,
  deviceIds: readonly string[],
  now: Date,
): Promise<Map<string, { n: number; seq: number | null }>> {
  const since = new Date(now.getTime() - hourMs)
  // As many as can be of an hour, and not the whole life of the device.
  const { rows } = await sql<{ device_id: string; n: number; seq: number | null }>`
    select device.id as device_id, count(*) filter (where past.omitted is null)::int as n,
      max(past.seq) filter (where past.omitted is not null) as seq
    from unnest(${[...deviceIds]}::uuid[]) as device(id)
    cross join lateral (select seq, omitted, at from choice_event
      where choice_event.device_id = device.id order by seq desc limit ${choicesPerHour + 2}) as past
    where past.at > ${since}::timestamptz
    group by device.id`.execute(tx)
  return new Map(rows.map(({ device_id, n, seq }) => [device_id, { n, seq }]))
}

const ledgerColumns = [
  'device_id',
  'deployment_id',
  'choice',
  'until',
  'outcome',
  'version',
  'text_sha256',
  'chosen_at',
] as const

async function append(
  tx: Tx,
  entries: readonly (LedgerEntry & { n: number | null })[],
  now: Date,
): Promise<void> {
  if (entries.length === 0) return
  const rows = JSON.stringify(
    entries.map(({ n, outcome, ...entry }, position) => ({
      ...entry,
      position,
      outcome: n === null ? outcome : notRecorded(n),
      omitted: n,
    })),
  )
  await tx
    .insertInto('choice_event')
    .columns([...ledgerColumns, 'omitted', 'at'])
    .expression((eb) =>
      eb
        .selectFrom(
          sql<
            LedgerEntry & { omitted: number | null; position: number }
          >`jsonb_to_recordset(${rows}::jsonb)`.as<'entry'>(
            sql`entry(position int, device_id uuid, deployment_id uuid, choice text, until timestamptz, outcome text,
              version text, text_sha256 text, chosen_at timestamptz, omitted int)`,
          ),
        )
        .select([...ledgerColumns, 'omitted'])
        .select(sql<Date>`${now}::timestamptz`.as('at'))
        .orderBy('position'),
    )
    .execute()
}

/** To the rows that are there already. `at` stays: it says from when on, and an hour later there is a new one. */
async function addOmitted(tx: Tx, entries: readonly Omitted[]): Promise<void> {
  const rows = entries.filter(({ seq }) => seq !== null)
  if (rows.length === 0) return
  await sql`
    update choice_event set omitted = choice_event.omitted + more.n,
      outcome = (choice_event.omitted + more.n) || ' choices not recorded',
      deployment_id = more.deployment_id, choice = more.choice, until = more.until,
      version = more.version, text_sha256 = more.text_sha256, chosen_at = more.chosen_at
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
      as more(seq bigint, n int, deployment_id uuid, choice text, until timestamptz,
        version text, text_sha256 text, chosen_at timestamptz)
    where choice_event.seq = more.seq`.execute(tx)
}

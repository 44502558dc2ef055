import type { Db } from '../db/client.ts'
import type { Reach } from '../protocol/reach.ts'
import { resultsAfter, type ResultRow } from './export-store.ts'
import type { ResultView } from './result-wire.ts'

const pageSize = 500

/**
 * All results of a rollout, page by page: one page is held, however many there are. What changes meanwhile is seen or not, each device
 * as it is when its page is read.
 */
export async function* resultsOf(
  db: Db,
  asked: { rolloutId: string; reach: Reach },
): AsyncGenerator<ResultView[]> {
  let after: { deviceId: string; id: string } | undefined
  for (;;) {
    const rows = await resultsAfter(db, asked, after, pageSize)
    yield rows.map(view)
    const last = rows.at(-1)
    if (!last || rows.length < pageSize) return
    after = { deviceId: last.device_id, id: last.id }
  }
}

function view(row: ResultRow): ResultView {
  const at = (date: Date | null) => date?.toISOString() ?? null
  return {
    deviceId: row.device_id,
    serialNumber: row.serial_number,
    phase: row.phase_no,
    state: row.state,
    code: row.code,
    detail: row.detail,
    attempts: row.attempts,
    component: row.component,
    admittedAt: row.created_at.toISOString(),
    firstOfferedAt: at(row.first_offered_at),
    startedAt: at(row.started_at),
    endedAt: at(row.ended_at),
    fromBuild: row.from_build,
    toBuild: row.to_build,
    deploymentId: row.id,
  }
}

/** One line of RFC 4180, with its end. What a spreadsheet would run as a formula is made text by an apostrophe. */
export function csvLine(cells: readonly (string | number | null)[]): string {
  return `${cells.map(csvCell).join(',')}\r\n`
}

function csvCell(cell: string | number | null): string {
  if (cell === null) return ''
  if (typeof cell === 'number') return String(cell)
  const text = /^[=+\-@\t\r\n]/.test(cell) ? `'${cell}` : cell
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

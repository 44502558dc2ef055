import { cpus } from 'node:os'

import type { FleetReport } from './fleet-process.ts'
import type { TableSize } from './sample.ts'
import type { Finding } from './verdict.ts'
import type { Cycle } from './work.ts'

export interface SoakResult {
  minutes: number
  devices: number
  brokers: number
  findings: readonly Finding[]
  tables: readonly TableSize[]
  cycles: readonly Cycle[]
  end: FleetReport
  wrong: readonly string[]
}

/** As Markdown, so that it can stand in docs/performance.md as it is. */
export function report({
  minutes,
  devices,
  brokers,
  findings,
  tables,
  cycles,
  end,
  wrong,
}: SoakResult): string {
  const updates = Object.values(end.succeeded).reduce((sum, n) => sum + n, 0)
  const where = brokers > 0 ? `${brokers} broker processes` : 'one process'
  const trouble = Object.entries(end.trouble).map(([what, n]) => `${what} (${n})`)
  return [
    `${minutes} minutes, ${devices} devices, ${where}, Node ${process.version}, ${cpus().length} processors: ` +
      `${updates} updates, ${end.renewed} renewals, ${end.restarts} restarts of devices in ${cycles.length} cycles.`,
    '',
    table(
      ['what', 'first third', 'last third', 'bound', ''],
      findings.map((one) => [
        one.what,
        one.first,
        one.last,
        one.bound,
        one.flat ? 'flat' : 'NOT flat',
      ]),
    ),
    '',
    table(
      ['largest tables', 'MB', 'rows'],
      tables.map((one) => [one.table, (one.bytes / 1e6).toFixed(1), String(one.rows)]),
    ),
    '',
    wrong.length === 0
      ? 'Nothing was left undone.'
      : wrong.map((what) => `WRONG  ${what}`).join('\n'),
    ...(trouble.length > 0 ? [`Devices met: ${trouble.join(', ')}.`] : []),
  ].join('\n')
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((name, at) =>
    Math.max(name.length, 3, ...rows.map((row) => row[at]?.length ?? 0)),
  )
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

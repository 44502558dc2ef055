import { fit, pad, plain, widthOf } from './text.ts'

export type Cell = string | number | boolean | null | undefined

/** A column: its heading and how a row's cell reads. */
export interface Column<R> {
  head: string
  cell: (row: R) => Cell
}

const gap = '  '

/**
 * Rows as aligned columns with one line of headings. When the whole is wider than `width` columns, the widest column
 * gives way, down to 8. Every cell is made safe for a terminal.
 */
export function renderTable<R>(
  columns: readonly Column<R>[],
  rows: readonly R[],
  width = Number.POSITIVE_INFINITY,
): string {
  const cells = rows.map((row) => columns.map((column) => cellText(column.cell(row))))
  const heads = columns.map((column) => column.head.toUpperCase())
  const widths = heads.map((head, at) =>
    Math.max(widthOf(head), ...cells.map((row) => widthOf(row[at] ?? ''))),
  )
  shrink(widths, width - gap.length * (columns.length - 1))
  const line = (row: readonly string[]) =>
    row
      .map((text, at) => pad(fit(text, widths[at] ?? 0), widths[at] ?? 0))
      .join(gap)
      .trimEnd()
  return [heads, ...cells].map(line).join('\n')
}

function shrink(widths: number[], available: number): void {
  for (;;) {
    const total = widths.reduce((sum, width) => sum + width, 0)
    const widest = Math.max(...widths)
    if (total <= available || widest <= 8) return
    widths[widths.indexOf(widest)] = Math.max(8, widest - (total - available))
  }
}

/** Names and values, one a line: what a `show` command prints. */
export function renderFields(fields: readonly (readonly [name: string, value: Cell])[]): string {
  const width = Math.max(0, ...fields.map(([name]) => widthOf(name)))
  return fields.map(([name, value]) => `${pad(`${name}:`, width + 2)}${cellText(value)}`).join('\n')
}

function cellText(cell: Cell): string {
  if (cell === null || cell === undefined || cell === '') return '-'
  if (typeof cell === 'boolean') return cell ? 'yes' : 'no'
  return plain(String(cell))
}

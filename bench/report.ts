import { budgetLines, budgets } from './budgets.ts'
import type { Machine } from './machine.ts'
import { plain, type Row, type Spread } from './row.ts'

/** What a run gave; the JSON file is this. */
export interface Report {
  format: 1
  machine: Machine
  /** Of the machine, one minute's average. */
  loadBefore: string
  loadAfter: string
  scale: 'full' | 'quick' | 'smoke'
  rounds: number
  seconds: number
  benches: readonly Section[]
}

export interface Section {
  name: string
  title: string
  rows: readonly Row[]
  /** When it ended early. */
  error?: string
}

const columns = ['what', 'ours', 'beside', 'ratio', 'spread', 'budget', ''] as const

export function verdict({ met, missing }: Row): string {
  if (missing !== undefined) return `not measured: ${missing}`
  return met === undefined ? '' : met ? 'met' : 'not met'
}

/** All budgets of a run in one section, in the order in which they are promised. */
export function overview(sections: readonly Section[]): Section {
  const held = sections.flatMap(({ rows }) => rows.filter(({ budget }) => budget !== undefined))
  const lineOf = ({ budget }: Row) => (budget === undefined ? undefined : budgets[budget].line)
  const lines = Object.entries(budgetLines).map(([line, title]) => ({ line, title }))
  const parts = [...lines, { line: undefined, title: 'goals beyond the budgets' }].map(
    ({ line, title }) => ({ title, rows: held.filter((row) => lineOf(row) === line) }),
  )
  const rows = parts
    .filter((part) => part.rows.length > 0)
    .flatMap((part) => [plain(`${part.title}:`, ''), ...part.rows])
  return { name: 'budgets', title: 'All budgets', rows }
}

/** How a run ended, over all budgets. */
export function tally(sections: readonly Section[]): {
  met: number
  missed: number
  missing: number
} {
  const rows = sections.flatMap((section) => section.rows)
  return {
    met: rows.filter(({ met }) => met === true).length,
    missed: rows.filter(({ met }) => met === false).length,
    missing: rows.filter(({ missing }) => missing !== undefined).length,
  }
}

/** The head of a run: what the figures cannot be understood without. */
export function head({ machine, loadBefore, loadAfter, scale, rounds }: Report): string[] {
  const { cpu, cores, memoryGb, kernel, node, openssl, peers, postgres, commit, at } = machine
  const others = [
    ...Object.entries(peers).map(([name, version]) => `${name} ${version}`),
    ...(postgres === undefined ? [] : [`PostgreSQL ${postgres}`]),
  ]
  return [
    `${at.slice(0, 16).replace('T', ' ')} UTC, commit ${commit}, ${scale}, ${rounds} rounds`,
    `${cores} × ${cpu}, ${memoryGb} GB, Linux ${kernel}; load ${loadBefore} before, ${loadAfter} after`,
    `Node ${node} (OpenSSL ${openssl}); ${others.length === 0 ? 'no peers' : others.join(', ')}`,
  ]
}

/** For a terminal. */
export function asText({ title, rows, error }: Section): string {
  const cells = [columns.map(String), ...rows.map(cellsOf)]
  const widths = widthsOf(cells)
  const lines = cells.map((row) =>
    row
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
  return ['', title, ...(error === undefined ? [] : [`  ended early: ${error}`]), ...lines].join(
    '\n',
  )
}

/** For docs/performance.md: as the formatter lays a table out. */
export function asMarkdown(report: Report): string {
  const parts = [overview(report.benches), ...report.benches].map((section) => {
    // What is indented belongs to the row above.
    const cells = [columns.map(String), ...section.rows.map(cellsOf)].map((row) =>
      row.map((cell) => cell.replace(/^ +/, '… ').replaceAll('|', '\\|')),
    )
    const widths = widthsOf(cells).map((width) => Math.max(width, 3))
    const line = (row: readonly string[]) =>
      `| ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`
    const rule = line(widths.map((width) => '-'.repeat(width)))
    const [first = [], ...rest] = cells
    const table = [line(first), rule, ...rest.map(line)]
    const early = section.error === undefined ? [] : [`Ended early: ${section.error}`, '']
    return [`### ${section.title}`, '', ...early, ...table].join('\n')
  })
  return [head(report).join('. '), ...parts].join('\n\n')
}

/** The page with the table between its two markers. Throws when they are not there. */
export function withTable(page: string, table: string): string {
  const [begin, end] = ['<!-- bench:begin -->', '<!-- bench:end -->']
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from < 0 || to < from) throw new Error(`The page has no ${begin} with ${end} after it`)
  return `${page.slice(0, from + begin.length)}\n\n${table}\n\n${page.slice(to)}`
}

function cellsOf(row: Row): string[] {
  const { what, figure, beside, ratio, spread, target } = row
  return [
    what,
    figure,
    beside ?? '',
    ratio === undefined ? '' : ratio.toFixed(2),
    spread === undefined ? '' : spreadText(spread),
    target,
    verdict(row),
  ].map((cell) => cell.trimEnd())
}

function spreadText({ least, most }: Spread): string {
  const digits = Math.abs(most) >= 100 ? 0 : 2
  return `${least.toFixed(digits)} to ${most.toFixed(digits)}`
}

function widthsOf(cells: readonly (readonly string[])[]): number[] {
  return columns.map((_, at) => Math.max(...cells.map((row) => row[at]?.length ?? 0)))
}

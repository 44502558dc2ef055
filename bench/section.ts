import type { Bench, Env } from './bench.ts'
import type { Section } from './report.ts'
import { missing, type Row } from './row.ts'

/**
 * Runs one bench. A budget without a row is not forgotten: it stands in the table with the reason, and what went wrong in one bench does not
 * take the others with it.
 */
export async function sectionOf(bench: Bench, env: Env): Promise<Section> {
  const { name, title } = bench
  const rows: Row[] = []
  let error: string | undefined
  try {
    rows.push(...(await bench.run(env)))
  } catch (thrown) {
    console.error(thrown)
    error = thrown instanceof Error ? thrown.message : String(thrown)
  }
  const given = new Set(rows.map(({ budget }) => budget))
  const reason = error === undefined ? 'this run gave no figure' : 'ended early'
  const absent = bench.budgets.filter((budget) => !given.has(budget))
  rows.push(...absent.map((budget) => missing(budget, budget, reason)))
  return { name, title, rows, ...(error === undefined ? {} : { error }) }
}

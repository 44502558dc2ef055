import { z } from 'zod'

import type { Terminal } from './command.ts'
import type { Failure } from './failure.ts'
import { type Cell, type Column, renderFields, renderTable } from './table.ts'
import { plain } from './text.ts'

/** Where a command's answer goes: one JSON value with `--json`, words and tables without. */
export interface Output {
  isJson: boolean
  /** The answer: as it is with `--json`, otherwise as `render` says it. */
  answer: <T>(value: T, render: (value: T) => string) => void
  rows: <R>(rows: readonly R[], columns: readonly Column<R>[]) => void
  fields: <T>(
    value: T,
    fields: (value: T) => readonly (readonly [name: string, value: Cell])[],
  ) => void
  /** One line for a person; nothing with `--json`. */
  say: (line: string) => void
}

export function createOutput(stdout: Terminal, isJson: boolean): Output {
  const write = (text: string) => void stdout.write(`${text}\n`)
  const width = stdout.isTTY ? (stdout.columns ?? 120) : Number.POSITIVE_INFINITY
  const answer: Output['answer'] = (value, render) =>
    write(isJson ? JSON.stringify(value, null, 2) : render(value))
  return {
    isJson,
    answer,
    rows: (rows, columns) =>
      answer(rows, (all) => (all.length === 0 ? 'none' : renderTable(columns, all, width))),
    fields: (value, fields) => answer(value, (one) => renderFields(fields(one))),
    say: (line) => {
      if (!isJson) write(plain(line))
    },
  }
}

/** A failure on standard error: code, what happened, every detail that was named, and what to do next. */
export function reportFailure(stderr: Terminal, failure: Failure, isJson: boolean): void {
  const { code, message, nextStep, exitCode, facts } = failure
  if (isJson) {
    const error = { code, detail: message, nextStep, exitCode, ...facts }
    stderr.write(`${JSON.stringify({ error })}\n`)
    return
  }
  const lines = [`${code}: ${message}`]
  for (const issue of issuesOf(facts['issues'])) lines.push(`  ${issue}`)
  if (typeof facts['requestId'] === 'string') lines.push(`request: ${facts['requestId']}`)
  if (nextStep !== undefined) lines.push(`next: ${nextStep}`)
  for (const line of lines.flatMap((text) => text.split('\n'))) stderr.write(`${plain(line)}\n`)
}

function issuesOf(issues: unknown): string[] {
  if (!Array.isArray(issues)) return []
  return issues.slice(0, 20).map((issue: unknown) => {
    const { at, message } = Issue.parse(issue)
    return `${at === '' ? 'it' : at}: ${message}`
  })
}

const Issue = z
  .object({ at: z.string().catch(''), message: z.string().catch('is not valid') })
  .catch({ at: '', message: 'is not valid' })

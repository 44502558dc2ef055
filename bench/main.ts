import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

import type { Bench, Env } from './bench.ts'
import { benches, unmeasured } from './benches.ts'
import { budgetKeys } from './budgets.ts'
import { endAll, endWithSignals } from './children.ts'
import { Databases } from './database.ts'
import { describeMachine, load } from './machine.ts'
import { type Options, parseOptions, usageText } from './options.ts'
import { findProgram, type Peer } from './peers.ts'
import {
  asMarkdown,
  asText,
  head,
  overview,
  type Report,
  type Section,
  tally,
  withTable,
} from './report.ts'
import { missing } from './row.ts'
import { sectionOf } from './section.ts'

/* `npm run bench`, or `npm run bench -- connect`: everything that is measured, in one run on one machine, as a table. */

/** The longest bench takes a third of it. */
const limitMs = 1_800_000

function environment(options: Options, databases: Databases, name: string): Env {
  const { rounds, quick, smoke } = options
  return {
    rounds,
    quick,
    smoke,
    pick: (full, inQuick, inSmoke) => (smoke ? inSmoke : quick ? inQuick : full),
    say: (line) => console.error(`${name}: ${line.trim()}`),
    database: () => databases.next(),
    peer: (peer) => peerOf(options, peer),
  }
}

function peerOf({ without }: Options, name: Peer): string | undefined {
  return without.includes(name) ? undefined : findProgram(name)
}

/** What hangs would hang for ever, with all that it started. The rows before it were printed. */
async function giveUp(name: string): Promise<never> {
  console.error(
    `bench: ${name} did not end in ${limitMs / 60_000} minutes; nothing more is measured`,
  )
  return await endAll(1)
}

/** Budgets that no bench measures: they are in the table all the same. */
function notYet(): Section[] {
  const rows = budgetKeys.flatMap((key) => {
    const reason = unmeasured[key]
    return reason === undefined ? [] : [missing(key, key, reason)]
  })
  return rows.length === 0 ? [] : [{ name: 'unmeasured', title: 'Not measured', rows }]
}

function chosen({ names, quick }: Options): readonly Bench[] {
  if (names.length > 0) return benches.filter(({ name }) => names.includes(name))
  return quick ? benches.filter(({ budgets }) => budgets.length > 0) : benches
}

async function measure(options: Options): Promise<Report> {
  const began = performance.now()
  const loadBefore = load()
  const machine = describeMachine((name) => peerOf(options, name))
  const sections: Section[] = []
  await using databases = new Databases()
  for (const bench of chosen(options)) {
    const late = setTimeout(() => void giveUp(bench.name), limitMs)
    const section = await sectionOf(bench, environment(options, databases, bench.name))
    clearTimeout(late)
    sections.push(section)
    console.log(asText(section))
  }
  if (options.names.length === 0) sections.push(...notYet())
  if (sections.length > 1) console.log(asText(overview(sections)))
  const postgres = await databases.version()
  return {
    format: 1,
    machine: { ...machine, ...(postgres === undefined ? {} : { postgres }) },
    loadBefore,
    loadAfter: load(),
    scale: options.smoke ? 'smoke' : options.quick ? 'quick' : 'full',
    rounds: options.rounds,
    seconds: Math.round((performance.now() - began) / 1_000),
    benches: sections,
  }
}

async function store(report: Report, { json, write }: Options): Promise<void> {
  const at = report.machine.at.replaceAll(/[:.]/g, '-')
  const file = json ?? `bench-results/${at}.json`
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, `${JSON.stringify(report, undefined, 2)}\n`)
  console.error(`bench: the results are in ${file}`)
  if (write === undefined) return
  await writeFile(write, withTable(await readFile(write, 'utf8'), asMarkdown(report)))
  console.error(`bench: the table is in ${write}`)
}

/** @returns the exit code */
async function run(options: Options): Promise<number> {
  const report = await measure(options)
  await store(report, options)
  const { met, missed, missing: absent } = tally(report.benches)
  console.log(`\n${head(report).join('\n')}`)
  console.log(`${met} met, ${missed} not met, ${absent} not measured; ${report.seconds} s`)
  if (report.benches.some(({ error }) => error !== undefined)) return 1
  return options.strict && missed + absent > 0 ? 3 : 0
}

/** @returns the exit code */
async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args)
  if (options === 'help') {
    console.log(usageText())
    return 0
  }
  if (options === 'list') {
    for (const { name, title, budgets } of benches) {
      console.log(`${name.padEnd(12)}  ${title}${budgets.length === 0 ? ' (not in --quick)' : ''}`)
    }
    return 0
  }
  const names = benches.map(({ name }) => name)
  const wrong =
    'wrong' in options
      ? options.wrong
      : options.names
          .filter((name) => !names.includes(name))
          .map((name) => `There is no measurement ${name}; there are ${names.join(', ')}`)[0]
  if (wrong !== undefined || 'wrong' in options) {
    console.error(`${wrong}\nSee: npm run bench -- --help`)
    return 2
  }
  if (process.platform !== 'linux') {
    console.error('The bench runs on Linux only: CPU time and memory of processes come from /proc')
    return 2
  }
  return await run(options)
}

endWithSignals()
process.exitCode = await main(process.argv.slice(2))

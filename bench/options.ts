import { parseArgs } from 'node:util'

import { peers } from './peers.ts'

export interface Options {
  /** Benches by name; all when empty. */
  names: readonly string[]
  quick: boolean
  smoke: boolean
  rounds: number
  json: string | undefined
  write: string | undefined
  strict: boolean
  without: readonly string[]
}

const usage = `Usage: npm run bench -- [options] [name …]

Measures the server beside its peers and floors, on this machine, and prints one table.

  --quick           every budget with fewer rounds and connections, in less than two minutes on a quiet machine
  --smoke           only whether it works, in seconds; the figures mean nothing
  --rounds N        how often each figure is taken (5; quick 3, smoke 1)
  --json FILE       the results as JSON, instead of bench-results/DATE.json
  --write FILE      puts the table into a page, between <!-- bench:begin --> and <!-- bench:end -->
  --without PEER    as if it was not installed: ${peers.join(', ')}; may be repeated
  --strict          ends with 3 when a budget is missed or was not measured
  --list            the names and what they measure
  --help            this`

export type Asked = Options | 'help' | 'list' | { wrong: string }

const flag = { type: 'boolean', default: false } as const

export function parseOptions(args: readonly string[]): Asked {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        quick: flag,
        smoke: flag,
        strict: flag,
        list: flag,
        help: { ...flag, short: 'h' },
        rounds: { type: 'string' },
        json: { type: 'string' },
        write: { type: 'string' },
        without: { type: 'string', multiple: true, default: [] },
      },
    })
    const { help, list, quick, smoke, rounds, json, write, strict, without } = values
    if (help) return 'help'
    if (list) return 'list'
    const wanted = rounds === undefined ? (smoke ? 1 : quick ? 3 : 5) : Number(rounds)
    if (!Number.isInteger(wanted) || wanted < 1 || wanted > 100) {
      return { wrong: '--rounds takes a number from 1 to 100' }
    }
    const stranger = without.find((name) => !peers.some((peer) => peer === name))
    if (stranger !== undefined) {
      return { wrong: `There is no peer ${stranger}; there are ${peers.join(', ')}` }
    }
    return {
      names: positionals,
      quick: quick || smoke,
      smoke,
      rounds: wanted,
      json,
      write,
      strict,
      without,
    }
  } catch (error) {
    return { wrong: error instanceof Error ? error.message : String(error) }
  }
}

export function usageText(): string {
  return usage
}

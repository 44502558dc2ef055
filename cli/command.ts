import type { ParseArgsConfig } from 'node:util'

import type { ApiClient } from './api.ts'
import type { Output } from './output.ts'
import type { Values } from './values.ts'

/** What a command gets from the world; a test gives its own. */
export interface Surroundings {
  env: Readonly<Record<string, string | undefined>>
  stdout: Terminal
  stderr: Terminal
  /** Asks a person and answers what was typed; undefined when nobody can be asked. */
  ask: (question: string, hidden?: boolean) => Promise<string | undefined>
  now: () => Date
  sleep: (ms: number) => Promise<void>
  /** Ends a `--watch`. */
  signal: AbortSignal
}

export interface Terminal {
  isTTY?: boolean | undefined
  columns?: number | undefined
  write: (text: string) => unknown
}

export interface CommandInput {
  /** Made at the first use, so that commands which need no server need no key. */
  client: () => Promise<ApiClient>
  args: readonly string[]
  values: Values
  out: Output
  world: Surroundings
}

export interface Command {
  /** The word after the noun. Empty for a noun that is a command by itself. */
  verb: string
  /** Positional arguments, e.g. `GROUP DEVICE`; a name in brackets may be left out, `…` takes the rest. */
  args: string
  summary: string
  options?: Record<string, Option>
  run: (input: CommandInput) => Promise<void>
}

/** An option, with what it means to a person. `value` names its value in the help. */
export type Option = NonNullable<ParseArgsConfig['options']>[string] & {
  about: string
  value?: string
}

export interface Noun {
  noun: string
  summary: string
  commands: readonly Command[]
}

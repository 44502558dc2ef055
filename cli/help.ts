import type { Command, Noun, Option } from './command.ts'
import { globalOptions } from './settings.ts'
import { pad } from './text.ts'

/** `fleetseal group create NAME` as one is to type it. */
export function usageOf({ noun }: Noun, { verb, args }: Command): string {
  return ['fleetseal', noun, verb, args].filter(Boolean).join(' ')
}

export function renderHelp(nouns: readonly Noun[]): string {
  const lines = nouns.map(({ noun, summary }) => [noun, summary] as const)
  return [
    'fleetseal: the command line of Fleetseal',
    '',
    'Usage: fleetseal NOUN VERB [ARGUMENTS] [OPTIONS]',
    '       fleetseal help NOUN',
    '',
    ...aligned(lines),
    '',
    'Options of every command:',
    ...optionLines(globalOptions),
    '',
    'Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no connection to the server, 4 not authenticated',
  ].join('\n')
}

export function renderNounHelp(noun: Noun): string {
  const blocks = noun.commands.flatMap((command) => [
    '',
    usageOf(noun, command),
    `    ${command.summary}`,
    ...optionLines(command.options ?? {}).map((line) => `  ${line}`),
  ])
  return [`${noun.noun}: ${noun.summary}`, ...blocks].join('\n')
}

function optionLines(options: Record<string, Option>): string[] {
  return aligned(
    Object.entries(options).map(([name, option]) => [
      `--${name}${option.value === undefined ? '' : ` ${option.value}`}`,
      option.multiple ? `${option.about} (may be repeated)` : option.about,
    ]),
  )
}

/** A name that is longer than this has its text on the line below, so that it does not push all others off the screen. */
const longest = 34

function aligned(pairs: readonly (readonly [string, string])[]): string[] {
  const fitting = pairs.map(([name]) => name.length).filter((length) => length <= longest)
  const width = Math.max(0, ...fitting)
  return pairs.flatMap(([name, text]) =>
    name.length > longest
      ? [`  ${name}`, `  ${pad('', width)}  ${text}`]
      : [`  ${pad(name, width)}  ${text}`],
  )
}

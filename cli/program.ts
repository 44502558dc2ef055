import { parseArgs } from 'node:util'

import { z } from 'zod'

import type { ApiClient } from './api.ts'
import type { Command, CommandInput, Noun, Surroundings } from './command.ts'
import { nouns } from './commands/nouns.ts'
import { exitCodes, Failure, type ExitCode, usageError } from './failure.ts'
import { renderHelp, renderNounHelp, usageOf } from './help.ts'
import { createOutput, reportFailure } from './output.ts'
import { connect, globalOptions } from './settings.ts'
import { Values } from './values.ts'

/** Runs one command line (without the program's name) and returns its exit code. Throws nothing. */
export async function runProgram(argv: readonly string[], world: Surroundings): Promise<ExitCode> {
  try {
    await dispatch(argv, world)
    return exitCodes.ok
  } catch (error) {
    const failure = asFailure(error)
    reportFailure(world.stderr, failure, argv.includes('--json'))
    return failure.exitCode
  }
}

async function dispatch(argv: readonly string[], world: Surroundings): Promise<void> {
  const [first = 'help', ...rest] = argv
  const say = (text: string) => void world.stdout.write(`${text}\n`)
  if (first === 'help' || first === '--help' || first === '-h') {
    const [topic] = rest
    say(topic === undefined ? renderHelp(nouns) : renderNounHelp(nounOf(topic)))
    return
  }
  const noun = nounOf(first)
  const [verb] = rest
  if (verb === 'help' || verb === '--help' || verb === '-h') {
    say(renderNounHelp(noun))
    return
  }
  const own = noun.commands.find((command) => command.verb !== '' && command.verb === verb)
  const command = own ?? noun.commands.find((each) => each.verb === '')
  if (!command) {
    const verbs = noun.commands.map((each) => each.verb).join(', ')
    throw usageError(
      verb === undefined
        ? `fleetseal ${first} needs a verb`
        : `fleetseal ${first} has no verb ${verb}`,
      `There are ${verbs}: fleetseal help ${first}`,
    )
  }
  await runCommand(noun, command, { argv: own ? rest.slice(1) : rest, world })
}

async function runCommand(
  noun: Noun,
  command: Command,
  { argv, world }: { argv: readonly string[]; world: Surroundings },
): Promise<void> {
  const { positionals, values: given } = parsed(noun, command, argv)
  const values = new Values(given)
  if (values.flag('help')) {
    world.stdout.write(`${renderNounHelp(noun)}\n`)
    return
  }
  checkCount(noun, command, positionals)
  let client: ApiClient | undefined
  const input: CommandInput = {
    args: positionals,
    values,
    out: createOutput(world.stdout, values.flag('json')),
    world,
    client: async () => (client ??= await connect(values, world)),
  }
  try {
    await command.run(input)
  } finally {
    client?.[Symbol.dispose]()
  }
}

function parsed(noun: Noun, command: Command, argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: { ...globalOptions, ...command.options },
      allowPositionals: true,
      strict: true,
    })
  } catch (error) {
    throw usageError(error instanceof Error ? error.message : String(error), usageOf(noun, command))
  }
}

function checkCount(noun: Noun, command: Command, positionals: readonly string[]): void {
  const names = command.args.split(' ').filter(Boolean)
  const least = names.filter((name) => !name.startsWith('[')).length
  const most = names.some((name) => name.includes('…')) ? Number.POSITIVE_INFINITY : names.length
  if (positionals.length < least) {
    throw usageError(
      `${names[positionals.length] ?? 'an argument'} is missing`,
      usageOf(noun, command),
    )
  }
  if (positionals.length > most) {
    throw usageError(
      `${positionals[names.length] ?? ''} is one argument too many`,
      usageOf(noun, command),
    )
  }
}

function nounOf(name: string): Noun {
  const noun = nouns.find((each) => each.noun === name)
  if (noun) return noun
  throw usageError(
    `There is no noun ${name}`,
    `There are ${nouns.map((each) => each.noun).join(', ')}: fleetseal help`,
  )
}

/** What is not a Failure is our bug, or an error of the file system that names its file. */
function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  if (error instanceof z.ZodError)
    return usageError(`A file is not what it should be: ${z.prettifyError(error)}`)
  return new Failure('failed', error instanceof Error ? error.message : String(error), {
    cause: error,
  })
}

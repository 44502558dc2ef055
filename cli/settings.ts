import { readFile } from 'node:fs/promises'

import type { ApiClient } from './api.ts'
import { createClient } from './client.ts'
import type { Option, Surroundings } from './command.ts'
import { type ExitCode, exitCodes, Failure, usageError } from './failure.ts'
import type { Values } from './values.ts'

/** Options of every command. */
export const globalOptions: Record<string, Option> = {
  server: {
    type: 'string',
    value: 'URL',
    about: 'the server (FLEETSEAL_SERVER; https://localhost:8443)',
  },
  'api-key-file': {
    type: 'string',
    value: 'FILE',
    about: 'file with the API key (FLEETSEAL_API_KEY: the key or a file; ./data/admin-api-key)',
  },
  ca: {
    type: 'string',
    value: 'FILE',
    about: "the server's authority in PEM (FLEETSEAL_CA; ./data/ca/root.pem)",
  },
  timeout: { type: 'string', value: 'SECONDS', about: 'wait so long for an answer (30)' },
  json: { type: 'boolean', about: 'answer and errors as JSON, for scripts' },
  help: { type: 'boolean', short: 'h', about: 'show this' },
}

const maxFileBytes = 64 * 1024

/** A client from options, environment and defaults, in this order. */
export async function connect(
  values: Values,
  { env }: Pick<Surroundings, 'env'>,
): Promise<ApiClient> {
  const server = values.text('server') ?? env['FLEETSEAL_SERVER'] ?? 'https://localhost:8443'
  const seconds = values.number('timeout')
  const isTls = !/^http:/i.test(server)
  return createClient({
    server,
    apiKey: await apiKey(values, env),
    ...(isTls ? { ca: await authority(values, env) } : {}),
    ...(seconds === undefined ? {} : { timeoutMs: seconds * 1000 }),
  })
}

/** A token that the issuer of a pipeline signed (docs/pipelines.md). */
const tokenPattern = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/

async function apiKey(values: Values, env: Surroundings['env']): Promise<string> {
  const given = env['FLEETSEAL_API_KEY']
  const named = values.text('api-key-file') ?? env['FLEETSEAL_API_KEY_FILE']
  if (named === undefined && given?.startsWith('fs_')) return given.trim()
  const file = named ?? given ?? './data/admin-api-key'
  const text = (
    await readSmall(
      file,
      'the API key',
      '--api-key-file FILE or FLEETSEAL_API_KEY',
      exitCodes.notAuthenticated,
    )
  ).trim()
  if (/^fs_[\x21-\x7e]+$/.test(text) || tokenPattern.test(text)) return text
  throw new Failure('not-authenticated', `${file} does not hold an API key (fs_…)`, {
    exitCode: exitCodes.notAuthenticated,
    nextStep: 'Copy the file admin-api-key from the data directory of the server',
  })
}

/** The root that is trusted, in PEM. */
export async function authority(values: Values, env: Surroundings['env']): Promise<string> {
  const file = values.text('ca') ?? env['FLEETSEAL_CA'] ?? './data/ca/root.pem'
  const pem = await readSmall(file, "the server's authority", '--ca FILE or FLEETSEAL_CA')
  if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem
  throw usageError(
    `${file} is not a certificate in PEM`,
    'It is ca/root.pem in the data directory of the server',
  )
}

/** Reads a file that a person named, bounded. `how` says which option or variable names another. */
export async function readSmall(
  file: string,
  what: string,
  how: string,
  exitCode: ExitCode = exitCodes.usage,
): Promise<string> {
  const bytes = await readFile(file).catch((error: unknown) => {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unknown reason'
    throw new Failure(
      exitCode === exitCodes.usage ? 'usage' : 'not-authenticated',
      `Cannot read ${what} from ${file} (${reason})`,
      { exitCode, nextStep: `Name it with ${how}` },
    )
  })
  if (bytes.length > maxFileBytes) throw usageError(`${file} is too large to be ${what}`)
  return bytes.toString('utf8')
}

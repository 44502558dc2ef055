import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

/*
 * Every call of a server of its own, asked by schemathesis (https://schemathesis.io, from PyPI) with what its description allows and with what it does not:
 * no 5xx, no answer that is not described, nothing taken that the description refuses. docs/operations.md, "Asked by a generator".
 *
 * node scripts/fuzz-api.ts --schemathesis /path/to/schemathesis [--examples 8] [--seconds 240] [--seed 1]
 */

const root = new URL('..', import.meta.url)
const checks = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'negative_data_rejection',
  'unsupported_method',
]
/** These take the right away from the key that asks: they come last, each with what it may still be answered. */
const ending = [
  'deleteApiKeysByKeyId',
  'postApiKeysByKeyIdRotation',
  'putGrantsByPrincipal',
  'postKeyEncryptionKeyActions',
]

const { values } = parseArgs({
  options: {
    schemathesis: { type: 'string', default: 'schemathesis' },
    examples: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '240' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string', multiple: true, default: [] },
  },
})

async function startServer(dataDir: string) {
  const ports = ['API', 'DEVICE', 'MQTT', 'PUBLIC'].map((name) => [`FLEETSEAL_${name}_PORT`, '0'])
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', 'server/main.ts'],
    {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        PATH: process.env['PATH'],
        ...Object.fromEntries(ports),
        FLEETSEAL_DATA_DIR: dataDir,
        FLEETSEAL_API_RATE: '100000',
        FLEETSEAL_LOG_LEVEL: 'error',
      },
    },
  )
  const ready = Promise.withResolvers<string>()
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    process.stderr.write(chunk)
    output = (output + chunk.toString()).slice(-100_000)
    const url = /^fleetseal ready api=(\S+)/m.exec(output)?.[1]
    if (url !== undefined) ready.resolve(url)
  })
  child.once('exit', () => ready.reject(new Error('the server ended before it was ready')))
  return { url: await ready.promise, child }
}

async function ask(
  url: string,
  key: string,
  { selection, seconds, cwd }: { selection: string[]; seconds: string; cwd: string },
): Promise<boolean> {
  const { schemathesis, examples, seed } = values
  const options = `--tls-verify false --phases examples,coverage,fuzzing --workers 2 --continue-on-failure --no-shrink --no-color
    --suppress-health-check all --request-timeout 30 --max-examples ${examples} --max-time ${seconds} --seed ${seed} --warnings off`
  const child = spawn(
    schemathesis,
    [
      'run',
      `${url}/openapi.json`,
      '--header',
      `Authorization: Bearer ${key}`,
      ...options.split(/\s+/),
      '--checks',
      checks.join(','),
      ...selection,
    ],
    { stdio: 'inherit', cwd },
  )
  const [code] = (await once(child, 'exit')) as [number | null]
  return code === 0
}

/** Too large is a refusal as well. */
const settings = `[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 422, 428, 429, "5xx"]
`

const dataDir = await mkdtemp(join(tmpdir(), 'fleetseal-fuzz-'))
const server = await startServer(dataDir)
await writeFile(join(dataDir, 'schemathesis.toml'), settings)
try {
  const key = (await readFile(join(dataDir, 'admin-api-key'), 'utf8')).trim()
  const only = values.only.flatMap((id) => ['--include-operation-id', id])
  const rest = ending.flatMap((id) => ['--exclude-operation-id', id])
  const last = ending.flatMap((id) => ['--include-operation-id', id])
  const isClean = await ask(server.url, key, {
    selection: only.length > 0 ? only : rest,
    seconds: values.seconds,
    cwd: dataDir,
  })
  // Otherwise everything would have been asked by nobody.
  const me = await fetchMe(server.url, key)
  const isCleanAtLast =
    only.length > 0 ||
    (await ask(server.url, key, { selection: last, seconds: '40', cwd: dataDir }))
  const isAlive = server.child.exitCode === null
  console.log(
    `fuzz-api: ${isClean && isCleanAtLast ? 'clean' : 'faults'}; the key ${me ? 'was good until the end' : 'was lost on the way'}; the server ${isAlive ? 'runs' : 'died'}`,
  )
  process.exitCode = isClean && isCleanAtLast && me && isAlive ? 0 : 1
} finally {
  server.child.kill('SIGTERM')
  if (server.child.exitCode === null) await once(server.child, 'exit')
  await rm(dataDir, { recursive: true, force: true })
}

async function fetchMe(url: string, key: string): Promise<boolean> {
  const curl = spawn('curl', [
    ...'-sk -o /dev/null -w %{http_code} -H'.split(' '),
    `Authorization: Bearer ${key}`,
    `${url}/api/v1/operators/me`,
  ])
  let text = ''
  curl.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
  await once(curl, 'close')
  return text === '200'
}

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'

import { nouns } from '../../../cli/commands/nouns.ts'
import { runProgram } from '../../../cli/program.ts'

let folder: string
let keyFile: string
const servers: Server[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-cli-'))
  keyFile = join(folder, 'key')
  await writeFile(keyFile, `fs_${'a'.repeat(43)}\n`)
})
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})
afterAll(async () => await rm(folder, { recursive: true }))

async function run(argv: string[], env: Record<string, string> = {}) {
  let out = ''
  let err = ''
  const code = await runProgram(argv, {
    env,
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    ask: async () => undefined,
    now: () => new Date('2030-01-01T00:00:00Z'),
    sleep: async () => {},
    signal: new AbortController().signal,
  })
  return { code, out, err }
}

async function serve(handler: RequestListener): Promise<string[]> {
  const server = createServer(handler)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  return ['--server', `http://127.0.0.1:${port}`, '--api-key-file', keyFile]
}

const json =
  (status: number, body: unknown): RequestListener =>
  (_req, res) => {
    res.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
  }

const group = {
  id: '01890000-0000-7000-8000-000000000001',
  name: 'lab',
  description: '',
  deviceCount: 3,
  query: null,
  evaluatedAt: null,
  incident: null,
  version: 7,
  createdAt: '2030-01-01T00:00:00.000Z',
}

test('0: the answer is on standard output, as a table and as JSON', async () => {
  const options = await serve(json(200, { items: [group], nextCursor: null }))
  const table = await run(['group', 'list', ...options])
  expect(table).toMatchObject({ code: 0, err: '' })
  expect(table.out).toContain('lab')
  const asJson = await run(['group', 'list', '--json', ...options])
  expect(JSON.parse(asJson.out)).toEqual([group])
})

test('lists follow the cursor to the end', async () => {
  const seen: string[] = []
  const options = await serve((req, res) => {
    seen.push(req.url ?? '')
    const nextCursor = seen.length < 3 ? `c${seen.length}` : null
    res.end(JSON.stringify({ items: [group], nextCursor }))
  })
  const { out } = await run(['group', 'list', '--json', ...options])
  expect(JSON.parse(out)).toHaveLength(3)
  expect(seen[2]).toContain('cursor=c2')
})

test('1: a refusal shows code, detail, issues and the next step', async () => {
  const problem = {
    code: 'conflict',
    detail: 'The group is in use by 3 devices',
    requestId: 'abc-123-def',
    issues: [{ at: 'name', message: 'odd' }],
  }
  const options = await serve(json(409, problem))
  const { code, err, out } = await run(['group', 'delete', group.id, ...options])
  expect({ code, out }).toEqual({ code: 1, out: '' })
  for (const part of ['conflict: The group is in use', 'name: odd', 'abc-123-def', 'next: ']) {
    expect(err).toContain(part)
  }
  const asJson = await run(['group', 'delete', group.id, '--json', ...options])
  expect(JSON.parse(asJson.err)).toMatchObject({ error: { code: 'conflict', exitCode: 1 } })
})

test('1: an answer that is not what it should be is not shown as if it were', async () => {
  expect((await run(['group', 'list', ...(await serve(json(200, { items: 7 })))])).code).toBe(1)
  const html = await serve((_req, res) => res.end('<html>'))
  expect((await run(['group', 'list', ...html])).code).toBe(1)
})

test.each([
  [['nonsense'], 'There is no noun'],
  [['group'], 'needs a verb'],
  [['group', 'frobnicate'], 'no verb'],
  [['group', 'create'], 'NAME is missing'],
  [['group', 'create', 'a', 'b'], 'too many'],
  [['group', 'list', '--frob'], '--frob'],
  [['device', 'list', '--state', 'odd'], '--state'],
  [['device', 'disable', group.id], '--reason is missing'],
  [['api-key', 'create', 'ci'], '--role is missing'],
  [['help', 'nonsense'], 'There is no noun'],
])('2: %j', async (argv, words) => {
  const { code, err } = await run([...argv], {
    FLEETSEAL_SERVER: 'http://127.0.0.1:1',
    FLEETSEAL_API_KEY: keyFile,
  })
  expect(code).toBe(2)
  expect(err).toContain(words)
})

test('2: a key is never sent in the clear to another machine', async () => {
  const { code, err } = await run([
    'group',
    'list',
    '--server',
    'http://example.org',
    '--api-key-file',
    keyFile,
  ])
  expect(code).toBe(2)
  expect(err).toContain('https only')
})

test('3: nobody listens', async () => {
  const { code, err } = await run([
    'group',
    'list',
    '--server',
    'http://127.0.0.1:9',
    '--api-key-file',
    keyFile,
  ])
  expect(code).toBe(3)
  expect(err).toContain('next: Is the server running')
})

test('3: a server that never answers', async () => {
  const options = await serve(() => {})
  const { code, err } = await run(['group', 'create', 'x', '--timeout', '0.05', ...options])
  expect(code).toBe(3)
  expect(err).toContain('no answer within')
})

test('4: the key is not valid, or there is none', async () => {
  const options = await serve(
    json(401, { code: 'not-authenticated', detail: 'Send a valid API key' }),
  )
  expect((await run(['group', 'list', ...options])).code).toBe(4)
  expect(
    (
      await run([
        'group',
        'list',
        '--server',
        'http://127.0.0.1:9',
        '--api-key-file',
        join(folder, 'none'),
      ])
    ).code,
  ).toBe(4)
})

test('the key comes from the variable itself or from the file it names', async () => {
  const seen: string[] = []
  const [, server = ''] = await serve((req, res) => {
    seen.push(req.headers.authorization ?? '')
    res.end(JSON.stringify({ items: [], nextCursor: null }))
  })
  const key = `fs_${'b'.repeat(43)}`
  await run(['group', 'list'], { FLEETSEAL_SERVER: server, FLEETSEAL_API_KEY: key })
  await run(['group', 'list'], { FLEETSEAL_SERVER: server, FLEETSEAL_API_KEY: keyFile })
  expect(seen).toEqual([`Bearer ${key}`, `Bearer fs_${'a'.repeat(43)}`])
})

test('what creates is repeated under one key when the connection breaks; an action is not', async () => {
  const keys: unknown[] = []
  const options = await serve((req, res) => {
    keys.push(req.headers['idempotency-key'])
    if (keys.length < 3) res.socket?.destroy()
    else res.writeHead(201).end(JSON.stringify(group))
  })
  expect((await run(['group', 'create', 'lab', ...options])).code).toBe(0)
  expect(keys).toHaveLength(3)
  expect(new Set(keys).size).toBe(1)
  expect(keys[0]).toBeTypeOf('string')

  let actions = 0
  const broken = await serve((_req, res) => {
    actions++
    res.socket?.destroy()
  })
  const argv = ['group', 'disable', group.id, '--reason', 'x', ...broken]
  expect((await run(argv)).code).toBe(3)
  expect(actions).toBe(1)
})

test('a long option does not push what the others mean off the screen', async () => {
  const { out } = await run(['help', 'rollout'])
  const lines = out.split('\n')
  const short = lines.find((line) => line.includes('--priority N')) ?? ''
  expect(short.indexOf('where several')).toBeLessThan(45)
  const long = lines.findIndex((line) => line.includes('--phase PERCENT|count=N'))
  expect(lines[long]).not.toContain('one phase')
  expect(lines[long + 1]?.indexOf('one phase')).toBe(short.indexOf('where several'))
})

test('every command is in the help, and help needs no server', async () => {
  const overview = await run(['help'])
  expect(overview.code).toBe(0)
  for (const noun of nouns) {
    expect(overview.out).toContain(noun.noun)
    const { code, out } = await run(['help', noun.noun])
    expect(code).toBe(0)
    for (const { verb } of noun.commands)
      expect(out).toContain(`fleetseal ${noun.noun} ${verb}`.trim())
    expect((await run([noun.noun, '--help'])).code).toBe(0)
  }
})

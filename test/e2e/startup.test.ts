import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { connectPostgres, openEmbedded } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { type RunningServer, startServer } from '../support/server.ts'

const main = fileURLToPath(new URL('../../server/main.ts', import.meta.url))

/** Starts the server, expecting it to end by itself. */
async function start(environment: Record<string, string>) {
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env['PATH'], ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  const [code] = await once(child, 'exit')
  return { code, output }
}

/** Every file below `folder` with its content and mode, to see that nothing was touched. */
async function snapshot(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
  return Object.fromEntries(
    await Promise.all(
      files
        .toSorted()
        .map(async (file) => [
          file,
          `${(await stat(file)).mode} ${(await readFile(file)).toString('base64')}`,
        ]),
    ),
  )
}

test('with nobody who reads its log any more, it goes on or ends, and does not hang', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'fleetseal-log-'))
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main], {
    env: {
      PATH: process.env['PATH'],
      FLEETSEAL_DATA_DIR: join(dataDir, 'data'),
      FLEETSEAL_API_PORT: '0',
      FLEETSEAL_DEVICE_PORT: '0',
      FLEETSEAL_MQTT_PORT: '0',
      FLEETSEAL_PUBLIC_PORT: '0',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  const { promise: ready, resolve } = Promise.withResolvers<void>()
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
    if (/^fleetseal ready /m.test(output)) resolve()
  })
  await ready
  const exited = once(child, 'exit')
  child.stdout.destroy()
  child.stderr.destroy()
  const port = Number(/public=http:\/\/[^:]+:(\d+)/.exec(output)?.[1])
  // Each of these writes a line.
  for (let n = 0; n < 5; n++) {
    const answer = await fetch(`http://127.0.0.1:${port}/nothing`).catch(() => undefined)
    if (answer) expect(answer.status).toBe(404)
  }
  child.kill('SIGTERM')
  const [code, signal] = (await exited) as [number | null, string | null]
  expect({ code, signal }).toEqual({ code: 0, signal: null })
  await rm(dataDir, { recursive: true, force: true })
}, 60_000)

test('a wrong configuration ends with 2 and names every mistake at once', async () => {
  const { code, output } = await start({
    FLEETSEAL_API_PORT: 'many',
    FLEETSEAL_BIND: 'everywhere',
    FLEETSEAL_TYPO: '1',
    DATABASE_URL: 'mysql://localhost/x',
  })
  expect(code).toBe(2)
  for (const name of ['FLEETSEAL_API_PORT', 'FLEETSEAL_BIND', 'FLEETSEAL_TYPO', 'DATABASE_URL']) {
    expect(output).toContain(name)
  }
})

let server: RunningServer
let scratch: string
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'fleetseal-startup-'))
  server = await startServer()
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await rm(scratch, { recursive: true, force: true })
})

describe('what its operator can mend is said without a stack', () => {
  test('a port that another process has', async () => {
    const port = String(server.ports.public)
    const { code, output } = await start({
      FLEETSEAL_DATA_DIR: join(scratch, 'port-in-use'),
      FLEETSEAL_API_PORT: '0',
      FLEETSEAL_DEVICE_PORT: '0',
      FLEETSEAL_MQTT_PORT: '0',
      FLEETSEAL_PUBLIC_PORT: port,
    })
    expect(code).toBe(1)
    expect(output).toContain(`Port ${port} (127.0.0.1) is in use`)
    expect(output).toContain('FLEETSEAL_PUBLIC_PORT')
    expect(output).not.toMatch(/\n\s+at /)
  })

  test('a database that takes no changes, new or in use before', async () => {
    await using database = await createTestDatabase()
    if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
    const environment = {
      FLEETSEAL_API_PORT: '0',
      FLEETSEAL_DEVICE_PORT: '0',
      FLEETSEAL_MQTT_PORT: '0',
      FLEETSEAL_PUBLIC_PORT: '0',
      FLEETSEAL_DATA_DIR: join(scratch, 'read-only'),
      DATABASE_URL: database.url,
    }
    const name = sql.ref(new URL(database.url).pathname.slice(1))
    const readOnly = async () =>
      await sql`alter database ${name} set default_transaction_read_only = on`.execute(database.db)
    const refused = async () => {
      const { code, output } = await start(environment)
      expect(code).toBe(1)
      expect(output).toContain('it takes no changes, so it is a standby or set to be read only')
      expect(output).not.toMatch(/\n\s+at /)
    }
    await readOnly()
    await refused()
    await using own = connectPostgres(database.url, { max: 1 })
    await sql`set default_transaction_read_only = off`.execute(own.db)
    await sql`alter database ${name} reset all`.execute(own.db)
    await using used = await startServer({ DATABASE_URL: database.url })
    await used.kill()
    await readOnly()
    await expect(used.restart()).rejects.toThrow('it takes no changes, so it is a standby')
  }, 120_000)

  test('a database that is not there, and its password is not repeated', async () => {
    const { code, output } = await start({
      FLEETSEAL_DATA_DIR: join(scratch, 'no-database'),
      DATABASE_URL: 'postgres://somebody:hunter2@127.0.0.1:1/x',
    })
    expect(code).toBe(1)
    expect(output).toContain('DATABASE_URL')
    expect(output).not.toContain('hunter2')
    expect(output).not.toMatch(/\n\s+at /)
  })
})

describe('a data directory', () => {
  test('is private, and so are the secrets in it', async () => {
    expect((await stat(server.dataDir)).mode & 0o777).toBe(0o700)
    for (const name of ['kek', 'admin-api-key']) {
      expect((await stat(join(server.dataDir, name))).mode & 0o777).toBe(0o600)
    }
    expect(server.output()).not.toContain(await server.apiKey())
  })

  test('cannot be used by two processes', async () => {
    const { code, output } = await start({ FLEETSEAL_DATA_DIR: server.dataDir })
    expect(code).toBe(1)
    expect(output).toContain('Another process')
  })

  test('keeps its authorities and key over a clean stop and over kill -9', async () => {
    const before = [await readFile(server.ca, 'utf8'), await server.apiKey()]
    expect(await server.stop()).toBe(0)
    await server.restart()
    expect([await readFile(server.ca, 'utf8'), await server.apiKey()]).toEqual(before)
    await server.kill()
    await server.restart()
    expect([await readFile(server.ca, 'utf8'), await server.apiKey()]).toEqual(before)
  })
})

describe('a damaged data directory', () => {
  test('made with another key is refused and left as it is; with its own key it starts', async () => {
    expect(await server.stop()).toBe(0)
    const copy = join(scratch, 'other-key')
    await cp(server.dataDir, copy, { recursive: true })
    const other = join(scratch, 'other.kek')
    await writeFile(other, Buffer.alloc(32, 7), { mode: 0o600 })
    const { code, output } = await start({ FLEETSEAL_DATA_DIR: copy, FLEETSEAL_KEK_FILE: other })
    expect(code).toBe(1)
    expect(output).toMatch(/another key-encryption key/)
    expect(await readFile(join(copy, 'admin-api-key'), 'utf8')).toBe(
      await readFile(join(server.dataDir, 'admin-api-key'), 'utf8'),
    )
    await server.restart()
  })

  test.each([
    ['without its key', async (copy: string) => await rm(join(copy, 'kek')), /kek/],
    [
      'with half a key',
      async (copy: string) => await writeFile(join(copy, 'kek'), Buffer.alloc(16)),
      /exactly 32 bytes/,
    ],
    [
      'without its database',
      async (copy: string) => await rm(join(copy, 'db'), { recursive: true }),
      /database/,
    ],
  ])('%s is refused and left untouched', async (name, damage, says) => {
    await server.stop()
    const copy = join(scratch, name.replaceAll(' ', '-'))
    await cp(server.dataDir, copy, { recursive: true })
    await server.restart()
    await damage(copy)
    const before = await snapshot(copy)
    const { code, output } = await start({ FLEETSEAL_DATA_DIR: copy })
    expect(code).toBe(1)
    expect(output).toMatch(says)
    expect(output).not.toMatch(/\n\s+at /)
    expect(await snapshot(copy)).toEqual(before)
  })

  test('of something else is refused and left untouched', async () => {
    const foreign = join(scratch, 'foreign')
    await mkdir(foreign)
    await writeFile(join(foreign, 'thesis.txt'), 'years of work')
    const before = await snapshot(foreign)
    const { code } = await start({ FLEETSEAL_DATA_DIR: foreign })
    expect(code).toBe(1)
    expect(await snapshot(foreign)).toEqual(before)
  })
})

describe('a database that does not belong to this version', () => {
  test.each([
    [
      'migrated by a newer one',
      sql`insert into schema_migration (name, sha256) values ('9999_later.sql', 'x')`,
      /9999_later\.sql.*start that version/,
    ],
    [
      'whose migration reads differently now',
      sql`update schema_migration set sha256 = 'x' where name = '0002_operators.sql'`,
      /0002_operators\.sql was changed/,
    ],
  ])('%s is refused in words', async (name, change, says) => {
    await server.stop()
    const copy = join(scratch, name.replaceAll(' ', '-'))
    await cp(server.dataDir, copy, { recursive: true })
    await server.restart()
    {
      await using handle = await openEmbedded(join(copy, 'db'))
      await change.execute(handle.db)
    }
    const { code, output } = await start({ FLEETSEAL_DATA_DIR: copy })
    expect(code).toBe(1)
    expect(output).toMatch(says)
    expect(output).not.toMatch(/\n\s+at /)
  })
})

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'

import { validatePath } from '../../pki/path-validate.ts'
import { fromPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { bootstrapAuthorities } from '../../server/authorities/bootstrap.ts'
import { openDataDir } from '../../server/authorities/data-dir.ts'
import { loadKek } from '../../server/authorities/kek.ts'
import { loadAuthorities } from '../../server/authorities/load.ts'
import { serverCertificateWorker } from '../../server/authorities/server-certificate.ts'
import { loadConfig } from '../../server/config.ts'
import { connectPostgres, type DatabaseHandle } from '../../server/db/client.ts'
import { createLogger } from '../../server/log.ts'
import { hashApiKey } from '../../server/operators/admin-key.ts'
import { TestClock } from '../support/clock.ts'
import { createTestDatabase } from '../support/database.ts'

let base: string
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'fleetseal-installation-'))
})
afterEach(() => rm(base, { recursive: true, force: true }))

const configOf = (dir: string, more: Record<string, string> = {}) =>
  loadConfig({ FLEETSEAL_DATA_DIR: dir, ...more })
const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8)

/** Everything in a directory with its bytes: refusing must not change any of it. */
async function contentOf(dir: string): Promise<Record<string, string>> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
  const pairs = await Promise.all(
    files.map(async (path) => [path, await readFile(path, 'hex')] as const),
  )
  return Object.fromEntries(pairs)
}

async function expectRefusal(work: () => Promise<unknown>, dir: string, message: RegExp) {
  const before = await contentOf(dir)
  const error: unknown = await work().then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toMatchObject({
    name: 'InstallationError',
    message: expect.stringMatching(message),
  })
  expect(await contentOf(dir)).toEqual(before)
}

describe('the data directory', () => {
  test('is made for its owner alone, and again opened', async () => {
    const config = configOf(join(base, 'a', 'data'))
    for (let n = 0; n < 2; n++) await (await openDataDir(config))[Symbol.asyncDispose]()
    expect(await modeOf(config.dataDir)).toBe('700')
  })

  test('is held by one at a time, whatever it is called', async () => {
    const config = configOf(join(base, 'data'))
    await using first = await openDataDir(config)
    expect(first.path).toBe(config.dataDir)
    await symlink(config.dataDir, join(base, 'alias'))
    await expectRefusal(
      () => openDataDir(configOf(join(base, 'alias'))),
      config.dataDir,
      /Another process/,
    )
    await first[Symbol.asyncDispose]()
    await using _again = await openDataDir(configOf(join(base, 'alias')))
  })

  test('is free again when the process that held it was killed', async () => {
    const config = configOf(join(base, 'data'))
    const module = new URL('../../server/authorities/data-dir.ts', import.meta.url).href
    const script = `const { openDataDir } = await import(${JSON.stringify(module)})
      globalThis.held = await openDataDir(${JSON.stringify({ dataDir: config.dataDir, kekFile: config.kekFile })})
      console.log('held'); setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    await expectRefusal(() => openDataDir(config), config.dataDir, /Another process/)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await using _ = await openDataDir(config)
  })
})

describe('a data directory that does not fit', () => {
  test('is refused when it holds what is not ours', async () => {
    const dir = join(base, 'home')
    await mkdir(dir)
    await writeFile(join(dir, 'thesis.txt'), 'years of work')
    await expectRefusal(() => openDataDir(configOf(dir)), dir, /not empty.*thesis\.txt/)
    await expectRefusal(
      () => openDataDir(configOf(join(dir, 'thesis.txt'))),
      dir,
      /not a directory/,
    )
  })

  test('is refused when it is half of one, or of another database', async () => {
    const dir = join(base, 'data')
    const config = configOf(dir)
    await mkdir(join(dir, 'db'), { recursive: true })
    const marker = join(dir, 'fleetseal.json')
    const written = { format: 1, database: 'embedded', state: 'ready' }
    await writeFile(marker, JSON.stringify(written))
    await expectRefusal(() => openDataDir(config), dir, /not whole.*kek.*and.*db/)
    await expectRefusal(() => loadKek(config), dir, /missing/)
    await writeFile(join(dir, 'kek'), Buffer.alloc(32))
    await expectRefusal(() => openDataDir(config), dir, /not whole/)
    const postgres = configOf(dir, { DATABASE_URL: 'postgres://localhost/x' })
    await expectRefusal(() => openDataDir(postgres), dir, /embedded database/)
    await writeFile(marker, '{"format":1')
    await expectRefusal(() => openDataDir(config), dir, /damaged/)
    await writeFile(marker, JSON.stringify({ ...written, format: 2 }))
    await expectRefusal(() => openDataDir(config), dir, /newer/)
    await writeFile(marker, JSON.stringify(written))
    await writeFile(join(dir, 'db', 'PG_VERSION'), '17')
    await using _whole = await openDataDir(config)
  })

  test('a first start that was cut short before it had a database begins again', async () => {
    const config = configOf(join(base, 'data'))
    await (await openDataDir(config))[Symbol.asyncDispose]()
    const kek = await loadKek(config)
    await mkdir(join(config.dataDir, 'db'))
    await writeFile(join(config.dataDir, 'db', 'half'), '')
    await using _ = await openDataDir(config)
    expect(await loadKek(config)).toEqual(kek)
    expect(await readdir(config.dataDir)).not.toContain('db')
  })
})

describe('the key-encryption key', () => {
  test('is made once by whoever comes first, for its owner alone', async () => {
    const config = configOf(base)
    const keys = await Promise.all(Array.from({ length: 5 }, () => loadKek(config)))
    expect(new Set(keys.map((key) => key.toString('hex'))).size).toBe(1)
    expect(keys[0]).toHaveLength(32)
    expect(await modeOf(config.kekFile)).toBe('600')
    expect(await readdir(base)).toEqual(['kek'])
  })

  test.each([0, 31, 33, 44])('of %i bytes is refused and stays', async (size) => {
    await writeFile(join(base, 'kek'), Buffer.alloc(size, 1))
    await expectRefusal(() => loadKek(configOf(base)), base, /exactly 32 bytes/)
  })
})

describe('the first start', () => {
  let handle: DatabaseHandle
  beforeAll(async () => {
    handle = await createTestDatabase()
  })
  afterAll(() => handle[Symbol.asyncDispose]())

  const depsOf = async (dir: string, db = handle.db) => {
    const config = configOf(dir, { FLEETSEAL_PUBLIC_HOST: 'fleet.example.com' })
    return {
      db,
      clock: new TestClock(),
      log: createLogger('silent'),
      config,
      kek: await loadKek(config),
    }
  }

  test('of two processes at once makes one installation, which both load, and later starts keep', async () => {
    if (handle.kind !== 'postgres') throw new Error('needs PostgreSQL')
    await using second = connectPostgres(handle.url)
    const one = await depsOf(join(base, 'one'))
    const two = { ...(await depsOf(join(base, 'two'), second.db)), kek: one.kek }
    await Promise.all([bootstrapAuthorities(one), bootstrapAuthorities(two)])
    await bootstrapAuthorities(one)
    const rows = await handle.db.selectFrom('authority').select('purpose').execute()
    expect(rows.map((row) => row.purpose).toSorted()).toEqual(['devices', 'root', 'servers'])
    const [first, other] = [await loadAuthorities(one), await loadAuthorities(two)]
    expect(first.rootPem).toBe(other.rootPem)
    expect(first.tls.cert).toBe(other.tls.cert)

    const { root, devices } = first
    const years = (at: { notBefore: Date; notAfter: Date }) =>
      Math.round((at.notAfter.getTime() - at.notBefore.getTime()) / (365 * 86_400_000))
    expect([years(root.certificate), years(devices.certificate)]).toEqual([20, 8])
    const [leaf = Buffer.alloc(0), issuer = Buffer.alloc(0)] = fromPem(
      first.tls.cert,
      'CERTIFICATE',
    )
    const at = one.clock.now()
    expect(validatePath([leaf, issuer], [root.der], { at, purpose: 'serverAuth' }).valid).toBe(true)
    const names = parseCertificate(leaf).subjectAltName?.map((name) =>
      'value' in name ? name.value.toString('hex' as never) : '',
    )
    expect(names).toEqual(['fleet.example.com', 'localhost', '7f000001', `${'0'.repeat(31)}1`])
    expect(await readFile(join(base, 'one', 'ca', 'root.pem'), 'utf8')).toBe(first.rootPem)

    const secrets = await Promise.all(
      ['one', 'two'].map((dir) => readFile(join(base, dir, 'admin-api-key'), 'utf8')),
    )
    expect(new Set(secrets).size).toBe(1)
    const key = await handle.db.selectFrom('api_key').selectAll().executeTakeFirstOrThrow()
    expect(key).toMatchObject({ role: 'admin', secret_hash: hashApiKey((secrets[0] ?? '').trim()) })
    expect(await modeOf(join(base, 'one', 'admin-api-key'))).toBe('600')
  })

  test('K2 another key-encryption key is a clear error, and nothing changes', async () => {
    const deps = await depsOf(join(base, 'other'))
    const counts = async () =>
      await handle.db
        .selectFrom('audit_event')
        .select((eb) => eb.fn.countAll().as('n'))
        .execute()
    const before = await counts()
    await expectRefusal(() => bootstrapAuthorities(deps), base, /another key-encryption key/)
    expect(await counts()).toEqual(before)
  })
})

describe('a start after a crash', () => {
  let handle: DatabaseHandle
  beforeAll(async () => {
    handle = await createTestDatabase()
  })
  afterAll(() => handle[Symbol.asyncDispose]())

  test('between the transaction and the files writes the files; the key in them works', async () => {
    const config = configOf(join(base, 'data'), { DATABASE_URL: 'postgres://localhost/x' })
    await using _dir = await openDataDir(config)
    const deps = {
      db: handle.db,
      clock: new TestClock(),
      log: createLogger('silent'),
      config,
      kek: await loadKek(config),
    }
    await writeFile(join(config.dataDir, 'ca'), 'in the way')
    await expect(bootstrapAuthorities(deps)).rejects.toThrow()
    expect(await readdir(config.dataDir)).not.toContain('admin-api-key')
    await rm(join(config.dataDir, 'ca'))
    await bootstrapAuthorities(deps)
    const secret = (await readFile(join(config.dataDir, 'admin-api-key'), 'utf8')).trim()
    const keys = await handle.db.selectFrom('api_key').selectAll().execute()
    expect(keys.map((key) => key.secret_hash)).toEqual([hashApiKey(secret)])
    // An administrator who put the key elsewhere does not find it back in the directory.
    await rm(join(config.dataDir, 'admin-api-key'))
    await bootstrapAuthorities(deps)
    expect(await readdir(config.dataDir)).not.toContain('admin-api-key')

    const authorities = await loadAuthorities(deps)
    const renewed: string[] = []
    authorities.onRenewal((tls) => renewed.push(tls.cert))
    const worker = serverCertificateWorker({ ...deps, authorities })
    await worker.step(new AbortController().signal)
    expect(renewed).toEqual([])
    deps.clock.advance({ seconds: 60 * 86_400 })
    await worker.step(new AbortController().signal)
    expect(renewed).toEqual([authorities.tls.cert])
    expect((await loadAuthorities(deps)).tls.cert).toBe(authorities.tls.cert)
    const moved = configOf(config.dataDir, { FLEETSEAL_PUBLIC_HOST: 'new.example.com' })
    expect((await loadAuthorities({ ...deps, config: moved })).tls.cert).not.toBe(
      authorities.tls.cert,
    )
  })
})

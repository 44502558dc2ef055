import { createHash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { hasCode } from './files.ts'

/**
 * Held as long as this process lives: a local socket with a name made of the directory's real path. On Linux the name is an
 * abstract one, which the kernel frees however the process ends; elsewhere it is a socket file, and one that nobody
 * answers on is left over. Nothing is written into the directory.
 *
 * @param realPath without symbolic links, so that two names of one directory are one lock
 * @returns undefined when another process holds it
 */
export async function lockDirectory(realPath: string): Promise<AsyncDisposable | undefined> {
  const name = `fleetseal-${createHash('sha256').update(realPath).digest('hex').slice(0, 32)}`
  if (process.platform === 'linux') return await listen(`\0${name}`)
  const path = join(tmpdir(), `${name}.sock`)
  const lock = await listen(path)
  if (lock || (await isAnswered(path))) return lock
  await rm(path, { force: true })
  return await listen(path)
}

async function listen(path: string): Promise<AsyncDisposable | undefined> {
  const server = createServer((socket) => socket.destroy())
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(path, resolve)
    })
  } catch (error) {
    if (hasCode(error, 'EADDRINUSE')) return undefined
    throw error
  }
  server.on('error', () => {})
  // The lock alone does not keep the process running.
  server.unref()
  return { [Symbol.asyncDispose]: () => close(server) }
}

async function close(server: Server): Promise<void> {
  await new Promise<void>((resolve) => server.close(() => resolve()))
}

async function isAnswered(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Otherwise the scripts would install under the feet of the tests that run now. */
function isInstalled(): boolean {
  const stamp = join(root, 'node_modules', '.installed-lockfile')
  const lockfile = createHash('sha256').update(readFileSync(join(root, 'package-lock.json')))
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === lockfile.digest('hex')
}

/** Is anybody still listening there? */
async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const outcome = await Promise.race([
    once(socket, 'connect').then(() => true),
    once(socket, 'error').then(() => false),
  ]).catch(() => false)
  socket.destroy()
  return outcome
}

/** `npm start` until it is ready; the port of the interface, and how to end it by a signal to npm alone. */
async function npmStart(dataDir: string) {
  const names = ['API', 'DEVICE', 'MQTT', 'PUBLIC'].map((name) => [`FLEETSEAL_${name}_PORT`, '0'])
  const child = spawn('npm', ['start'], {
    cwd: root,
    env: { ...process.env, ...Object.fromEntries(names), FLEETSEAL_DATA_DIR: dataDir },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  const ready = Promise.withResolvers<number>()
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk
      const port = /fleetseal ready api=https:\/\/localhost:(\d+)/.exec(output)?.[1]
      if (port !== undefined) ready.resolve(Number(port))
    })
  }
  child.once('exit', () => ready.reject(new Error(`ended before it was ready: ${output}`)))
  const port = await ready.promise
  return {
    port,
    output: () => output,
    stop: async () => {
      child.kill('SIGTERM')
      const [code] = await once(child, 'exit')
      return code
    },
  }
}

test.skipIf(!isInstalled())('SIGTERM to npm start stops the server cleanly', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'fleetseal-npm-'))
  try {
    const server = await npmStart(dataDir)
    expect(await answers(server.port)).toBe(true)
    expect(await server.stop()).toBe(0)
    expect(server.output()).toContain('stopped')
    expect(await answers(server.port)).toBe(false)
  } finally {
    await rm(dataDir, { recursive: true, force: true })
  }
})

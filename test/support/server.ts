import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { freePort } from './postgres.ts'

export interface RunningServer {
  dataDir: string
  ports: { api: number; device: number; mqtt: number; public: number }
  /** Everything it printed so far. */
  output: () => string
  apiKey: () => Promise<string>
  pid: () => number
  ca: string
  /** Ends it at once, as a power cut would. */
  kill: () => Promise<void>
  /** SIGTERM, and waits. Returns the exit code. */
  stop: () => Promise<number | null>
  /** Starts it again on the same data and ports. */
  restart: () => Promise<void>
  /** Stops it and removes its data. */
  [Symbol.asyncDispose]: () => Promise<void>
}

const main = fileURLToPath(new URL('../../server/main.ts', import.meta.url))

function launch(wrap: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  const own = [process.execPath, '--disable-warning=ExperimentalWarning', main]
  const [program = process.execPath, ...args] = [...wrap, ...own]
  return spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
}

/**
 * A real server in a process of its own, on free loopback ports and a fresh data directory.
 *
 * @param wrap the command that runs it, which must become it by exec
 */
export async function startServer(
  environment: Record<string, string> = {},
  wrap: readonly string[] = [],
): Promise<RunningServer> {
  const dataDir =
    environment['FLEETSEAL_DATA_DIR'] ?? (await mkdtemp(join(tmpdir(), 'fleetseal-e2e-')))
  const ports = {
    api: await freePort(),
    device: await freePort(),
    mqtt: await freePort(),
    public: await freePort(),
  }
  const env = {
    PATH: process.env['PATH'],
    FLEETSEAL_API_PORT: String(ports.api),
    FLEETSEAL_API_RATE: '100000',
    FLEETSEAL_DEVICE_PORT: String(ports.device),
    FLEETSEAL_MQTT_PORT: String(ports.mqtt),
    FLEETSEAL_PUBLIC_PORT: String(ports.public),
    ...environment,
    FLEETSEAL_DATA_DIR: join(dataDir, 'data'),
  }
  let output = ''
  let child: ChildProcess | undefined
  const start = async () => {
    const started = launch(wrap, env)
    child = started
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    let line = ''
    for (const stream of [started.stdout, started.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        output += chunk.toString()
        line = (line + chunk.toString()).slice(-4_000)
        if (/^fleetseal ready /m.test(line)) resolve()
      })
    }
    started.once('exit', (code) =>
      reject(new Error(`the server ended with ${code}:\n${output.slice(-4_000)}`)),
    )
    await promise
  }
  const end = async (signal: NodeJS.Signals) => {
    const running = child
    if (!running || running.exitCode !== null || running.signalCode !== null) return null
    const ended = once(running, 'exit')
    running.kill(signal)
    const [code] = await ended
    return code as number | null
  }
  await start()
  return {
    dataDir: join(dataDir, 'data'),
    ports,
    output: () => output,
    apiKey: async () => (await readFile(join(dataDir, 'data', 'admin-api-key'), 'utf8')).trim(),
    pid: () => child?.pid ?? 0,
    ca: join(dataDir, 'data', 'ca', 'root.pem'),
    kill: async () => void (await end('SIGKILL')),
    stop: () => end('SIGTERM'),
    restart: start,
    [Symbol.asyncDispose]: async () => {
      await end('SIGTERM')
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, type WriteStream } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('../server/main.ts', import.meta.url))
const readyLimitMs = 60_000

export interface Ports {
  api: number
  device: number
  mqtt: number
  public: number
}

/** The real server in a process of its own, as `npm start` runs it, on free ports and a data directory of the demo's. */
export class ServerProcess implements AsyncDisposable {
  readonly dataDir: string
  readonly ports: Ports
  readonly logFile: string
  readonly #environment: Record<string, string | undefined>
  readonly #log: WriteStream
  #child: ChildProcess | undefined

  private constructor(home: string, ports: Ports, environment: Record<string, string | undefined>) {
    this.dataDir = join(home, 'server')
    this.ports = ports
    this.logFile = join(home, 'server.log')
    this.#log = createWriteStream(this.logFile, { flags: 'a', mode: 0o600 })
    this.#environment = {
      ...environment,
      FLEETSEAL_DATA_DIR: this.dataDir,
      FLEETSEAL_API_PORT: String(ports.api),
      FLEETSEAL_DEVICE_PORT: String(ports.device),
      FLEETSEAL_MQTT_PORT: String(ports.mqtt),
      FLEETSEAL_PUBLIC_PORT: String(ports.public),
    }
  }

  static async start(
    home: string,
    environment: Record<string, string | undefined>,
  ): Promise<ServerProcess> {
    const ports = {
      api: await freePort(),
      device: await freePort(),
      mqtt: await freePort(),
      public: await freePort(),
    }
    const server = new ServerProcess(home, ports, environment)
    await server.start()
    return server
  }

  /** Resolves when the server says `fleetseal ready`. */
  async start(): Promise<void> {
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main], {
      env: this.#environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child = child
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    let tail = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        this.#log.write(chunk)
        tail = (tail + chunk.toString()).slice(-4_000)
        if (/^fleetseal ready /m.test(tail)) resolve()
      })
    }
    child.once('exit', (code) => reject(new Error(`The server ended with ${code}:\n${tail}`)))
    const timer = setTimeout(
      () => reject(new Error(`The server did not start:\n${tail}`)),
      readyLimitMs,
    )
    try {
      await promise
    } finally {
      clearTimeout(timer)
    }
  }

  /** As a power cut would end it. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end('SIGTERM')
    this.#log.end()
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('No free port')
  return address.port
}

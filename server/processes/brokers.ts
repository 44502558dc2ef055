import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { InstallationError } from '../authorities/installation-error.ts'
import type { BrokerProcesses, Context } from '../context.ts'
import { FromBroker, supervisedArgument, type ToBroker } from './messages.ts'

const main = fileURLToPath(new URL('../main.ts', import.meta.url))

/** Between the end of a process and its next start; twice as long each time, and short again after it ran for a while. */
const firstPauseMs = 200
const longestPauseMs = 30_000
const steadyMs = 60_000
/** Together with what else has to stop, less than what the whole server has (main.ts). */
const stopMs = 7_000
const answerMs = 1_000
/** Processes of a server that was killed hold the port until they notice. */
const portMs = 7_000

type Deps = Pick<Context, 'config' | 'log' | 'metrics'>
interface Ports {
  mqtt: number
  device: number
}

interface Options {
  /** Of this process; theirs is the same with another role. */
  environment: NodeJS.ProcessEnv
  /** The real one, which is in the addresses that certificates carry. */
  publicPort: number
}

interface Started {
  child: ChildProcess
  ready: Promise<Ports>
}

/**
 * Starts `config.brokers` broker processes, which share the ports of devices, and keeps them running until disposed. The first tells the
 * others which ports it got. They end when this process does, however that ends: their channel to it closes then.
 *
 * @throws InstallationError with what the first one could not start for
 */
export async function startBrokers(
  deps: Deps,
  options: Options,
): Promise<BrokerProcesses & AsyncDisposable & { ports: Ports }> {
  const { ports } = deps.config
  await assertFree(deps.config.bind, ports.mqtt)
  await assertFree(deps.config.bind, ports.device)
  const brokers = new Brokers(deps, options)
  try {
    return Object.assign(brokers, { ports: await brokers.start() })
  } catch (error) {
    await brokers[Symbol.asyncDispose]()
    throw error
  }
}

/** Two installations that share a port would each get some of the devices: only processes of one may. */
async function assertFree(host: string, port: number): Promise<void> {
  const until = performance.now() + portMs
  while (port !== 0) {
    const server = createServer()
    try {
      server.listen({ port, host })
      await once(server, 'listening')
      await new Promise<void>((resolve) => server.close(() => resolve()))
      return
    } catch (error) {
      const isUsed = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
      if (!isUsed || performance.now() > until) throw error
      await sleep(100)
    }
  }
}

class Brokers implements BrokerProcesses, AsyncDisposable {
  readonly wanted: number
  readonly #deps: Deps
  readonly #options: Options
  readonly #stop = new AbortController()
  /** Those that take devices. */
  readonly #ready = new Set<ChildProcess>()
  readonly #all = new Set<ChildProcess>()
  #watches: Promise<void>[] = []
  #ports: Ports
  #asked = 0

  constructor(deps: Deps, options: Options) {
    this.#deps = deps
    this.#options = options
    this.#ports = deps.config.ports
    this.wanted = deps.config.brokers
  }

  running = () => this.#ready.size

  async start(): Promise<Ports> {
    const first = this.#launch(0)
    this.#ports = await first.ready
    const others = Array.from({ length: this.wanted - 1 }, (_, n) => this.#launch(n + 1))
    const all = [first, ...others]
    this.#watches = all.map(async (started, n) => await this.#watch(n, started))
    await Promise.all(all.map(async ({ ready }) => await ready))
    return this.#ports
  }

  metrics = async (): Promise<object[][]> => {
    const answers = await Promise.all([...this.#ready].map(async (child) => await this.#ask(child)))
    const heard = answers.filter((answer) => answer !== undefined)
    this.#deps.metrics.brokerSilent.inc(answers.length - heard.length)
    return heard
  }

  async #ask(child: ChildProcess): Promise<object[] | undefined> {
    const id = ++this.#asked
    const { promise, resolve } = Promise.withResolvers<object[] | undefined>()
    const listen = (raw: unknown) => {
      const { data } = FromBroker.safeParse(raw)
      if (data?.type === 'metrics' && data.id === id) resolve(data.metrics)
    }
    const gone = () => resolve(undefined)
    const timer = setTimeout(gone, answerMs)
    child.on('message', listen).once('exit', gone)
    tell(child, { type: 'metrics', id })
    const answer = await promise
    clearTimeout(timer)
    child.off('message', listen).off('exit', gone)
    return answer
  }

  #launch(n: number): Started {
    const child = fork(main, [supervisedArgument], {
      env: this.#environment(),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#all.add(child)
    const { promise: ready, resolve, reject } = Promise.withResolvers<Ports>()
    // Not everybody who starts one waits for it.
    ready.catch(() => {})
    child.on('error', reject)
    child.on('message', (raw) => {
      const { data } = FromBroker.safeParse(raw)
      if (data?.type === 'failed') {
        this.#deps.log.error({ process: n, problem: data.problem }, 'a broker process cannot start')
        reject(new InstallationError(data.problem))
      }
      if (data?.type !== 'ready') return
      this.#ready.add(child)
      this.#deps.metrics.brokerProcesses.set(this.#ready.size)
      this.#deps.log.info({ process: n, brokerPid: child.pid }, 'a broker process is ready')
      resolve({ mqtt: data.mqtt, device: data.device })
    })
    child.once('exit', (code, signal) => {
      this.#all.delete(child)
      this.#ready.delete(child)
      this.#deps.metrics.brokerProcesses.set(this.#ready.size)
      reject(new Error(`Broker process ${n} ended with ${signal ?? code} before it was ready`))
    })
    return { child, ready }
  }

  #environment(): NodeJS.ProcessEnv {
    const { FLEETSEAL_BROKERS: _count, ...environment } = this.#options.environment
    return {
      ...environment,
      FLEETSEAL_ROLE: 'broker',
      FLEETSEAL_MQTT_PORT: String(this.#ports.mqtt),
      FLEETSEAL_DEVICE_PORT: String(this.#ports.device),
      FLEETSEAL_PUBLIC_PORT: String(this.#options.publicPort),
      FLEETSEAL_DATABASE_CONNECTIONS: String(this.#deps.config.brokerConnections),
    }
  }

  /** Until it is told to stop: waits for the end of the process, and starts the next one. */
  async #watch(n: number, first: Started): Promise<void> {
    const { log, metrics } = this.#deps
    const { signal } = this.#stop
    let { child } = first
    let pauseMs = firstPauseMs
    for (;;) {
      const beganAtMs = performance.now()
      await ended(child)
      if (signal.aborted) return
      if (performance.now() - beganAtMs > steadyMs) pauseMs = firstPauseMs
      const facts = { process: n, brokerPid: child.pid, code: child.exitCode, pauseMs }
      // Told to end, by whoever restarts one after the other, it ends with 0.
      const level = child.exitCode === 0 ? 'info' : 'error'
      log[level](
        { ...facts, signal: child.signalCode },
        'a broker process ended; starting it again',
      )
      metrics.brokerRestarts.inc()
      await sleep(pauseMs, undefined, { signal }).catch(() => {})
      if (signal.aborted) return
      pauseMs = Math.min(2 * pauseMs, longestPauseMs)
      child = this.#launch(n).child
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    const children = [...this.#all]
    for (const child of children) tell(child, { type: 'stop' })
    const timer = setTimeout(() => {
      for (const child of this.#all) child.kill('SIGKILL')
    }, stopMs + this.#deps.config.drainMs)
    await Promise.all([...children.map(async (child) => await ended(child)), ...this.#watches])
    clearTimeout(timer)
  }
}

function tell(child: ChildProcess, message: ToBroker): void {
  // It may end at any moment; that is seen elsewhere.
  if (child.connected) child.send(message, () => {})
}

async function ended(child: ChildProcess): Promise<void> {
  // One that could not even be started has no pid, and never ends.
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  await new Promise<void>((resolve) => child.once('exit', () => resolve()))
}

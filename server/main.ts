import { once } from 'node:events'

import { InstallationError } from './authorities/installation-error.ts'
import { ConfigError, loadConfig } from './config.ts'
import { createLogger } from './log.ts'
import { findParent } from './processes/parent.ts'
import { startProblem } from './start-problem.ts'
import { type RunningServer, startServer } from './start.ts'

/** A stop that hangs must not outlive what a service manager waits for. */
const stopLimitMs = 10_000

const stop = new AbortController()
/** A start that hangs, for its database does not answer, does not outlive it either. */
stop.signal.addEventListener('abort', () => {
  setTimeout(() => {
    if (!isStarted) process.exit(1)
  }, stopLimitMs).unref()
})
let isStarted = false
const parent = findParent(() => stop.abort())
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // A terminal and a service manager signal the whole group: the parent hears it too, and says so.
    if (parent && (signal === 'SIGINT' || stop.signal.aborted)) return
    if (stop.signal.aborted) process.exit(1)
    stop.abort()
  })
}

/** To the parent, or in the one line that scripts wait for; everything else on standard output is JSON. */
function announce({ host, ports, ctx }: RunningServer): void {
  if (parent) {
    parent.onMetrics(async () => await ctx.metrics.registry.getMetricsAsJSON())
    return parent.tell({ type: 'ready', mqtt: ports.mqtt, device: ports.device })
  }
  const { role } = ctx.config
  const addresses = [
    role !== 'broker' && `api=https://${host}:${ports.api}`,
    role !== 'api' && `devices=https://${host}:${ports.device} mqtt=mqtts://${host}:${ports.mqtt}`,
    role !== 'broker' && `public=http://${host}:${ports.public}`,
  ]
  console.log(['fleetseal ready', ...addresses.filter(Boolean)].join(' '))
}

async function main(): Promise<number> {
  const config = loadConfig(process.env)
  const isOneOfSeveral = parent !== undefined || config.role !== 'all' || config.brokers > 0
  const plain = createLogger(config.logLevel)
  // They write to one output: each line says whose it is.
  const log = isOneOfSeveral ? plain.child({ pid: process.pid }) : plain
  process.on('unhandledRejection', (error) => {
    log.fatal({ err: error }, 'a promise was rejected and nobody looked')
    process.exit(1)
  })
  const options = { isSupervised: parent !== undefined, environment: process.env }
  const server = await startServer(config, log, options).catch((error: unknown) => {
    const problem = startProblem(error, config)
    throw problem === undefined ? error : new InstallationError(problem, { cause: error })
  })
  isStarted = true
  announce(server)
  if (!stop.signal.aborted) await once(stop.signal, 'abort')
  log.info('stopping')
  setTimeout(() => {
    log.fatal('could not stop in time')
    process.exit(1)
  }, stopLimitMs + config.drainMs).unref()
  // Without the process that started it there is nobody who would wait.
  if (!parent || process.connected) await server.drain()
  await server[Symbol.asyncDispose]()
  log.info('stopped')
  parent?.leave()
  return 0
}

try {
  process.exitCode = await main()
} catch (error) {
  // What an operator can mend is said in words; anything else is our bug and shows its stack.
  const isMended = error instanceof ConfigError || error instanceof InstallationError
  if (isMended) parent?.tell({ type: 'failed', problem: error.message.slice(0, 10_000) })
  // The parent says it.
  if (isMended && !parent) console.error(error.message)
  if (!isMended) console.error(error)
  await parent?.flush()
  process.exit(error instanceof ConfigError ? 2 : 1)
}

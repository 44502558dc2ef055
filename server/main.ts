import { once } from 'node:events'

import { InstallationError } from './authorities/installation-error.ts'
import { ConfigError, loadConfig } from './config.ts'
import { createLogger } from './log.ts'
import { startProblem } from './start-problem.ts'
import { startServer } from './start.ts'

/** A stop that hangs must not outlive what a service manager waits for. */
const stopLimitMs = 10_000

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (stop.signal.aborted) process.exit(1)
    stop.abort()
  })
}

async function main(): Promise<number> {
  const config = loadConfig(process.env)
  const log = createLogger(config.logLevel)
  process.on('unhandledRejection', (error) => {
    log.fatal({ err: error }, 'a promise was rejected and nobody looked')
    process.exit(1)
  })
  const server = await startServer(config, log).catch((error: unknown) => {
    const problem = startProblem(error, config)
    throw problem === undefined ? error : new InstallationError(problem, { cause: error })
  })
  // The one line that scripts wait for; everything else on standard output is JSON.
  console.log(
    `fleetseal ready api=https://${server.host}:${server.ports.api} devices=https://${server.host}:${server.ports.device} ` +
      `mqtt=mqtts://${server.host}:${server.ports.mqtt} public=http://${server.host}:${server.ports.public}`,
  )
  if (!stop.signal.aborted) await once(stop.signal, 'abort')
  log.info('stopping')
  setTimeout(() => {
    log.fatal('could not stop in time')
    process.exit(1)
  }, stopLimitMs).unref()
  await server[Symbol.asyncDispose]()
  log.info('stopped')
  return 0
}

try {
  process.exitCode = await main()
} catch (error) {
  // What an operator can mend is said in words; anything else is our bug and shows its stack.
  if (error instanceof ConfigError || error instanceof InstallationError)
    console.error(error.message)
  else console.error(error)
  process.exit(error instanceof ConfigError ? 2 : 1)
}

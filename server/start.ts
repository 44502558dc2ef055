import type { Logger } from 'pino'

import { createDownloadPool } from './artifacts/block-pool.ts'
import { ChunkDelivery } from './artifacts/chunks.ts'
import { publishDueCrls } from './certificates/crl.ts'
import type { Config } from './config.ts'
import type { Context } from './context.ts'
import type { QuietDevices } from './ddi/quiet-devices.ts'
import { createQuietDevices } from './ddi/workers.ts'
import { deploymentMessages } from './deployments/messages.ts'
import { subscribeWake } from './deployments/wake.ts'
import { Greeting } from './devices/greet.ts'
import { deviceMessages } from './devices/messages.ts'
import { eventMessages } from './events/messages.ts'
import { createApp } from './http/app.ts'
import { createBrokerApp } from './http/broker-app.ts'
import { createDeviceApp } from './http/device-app.ts'
import { listenHttp, listenHttps } from './http/listen.ts'
import { createPublicApp } from './http/public-app.ts'
import { startBroker } from './mqtt/broker.ts'
import { ensureMetricsToken, isMetricsToken } from './operators/metrics-token.ts'
import { startBrokers } from './processes/brokers.ts'
import { openContext } from './start-context.ts'
import { startWorkers } from './start-workers.ts'

export interface RunningServer extends AsyncDisposable {
  host: string
  ports: Config['ports']
  ctx: Context
  /** Before it is disposed: says at `/readyz` that it stops, and sends its devices elsewhere, spread over `config.drainMs`. */
  drain: () => Promise<void>
}

export interface StartOptions {
  /** This is a broker process, and another process of the server started it. */
  isSupervised?: boolean
  /** What `config` was read from, for the processes that this one starts. */
  environment?: NodeJS.ProcessEnv
}

/**
 * Brings everything up that a process of its role has, in the order in which it is needed, and takes it down in the reverse. Whatever
 * fails on the way takes down what was already up.
 *
 */
export async function startServer(
  config: Config,
  log: Logger,
  { isSupervised = false, environment = {} }: StartOptions = {},
): Promise<RunningServer> {
  await using stack = new AsyncDisposableStack()
  const ctx = await openContext({ config, log, stack, isSupervised })
  const isApart = config.role === 'api' || config.brokers > 0
  const quiet = isApart ? undefined : createQuietDevices(ctx)
  const ports = await listen(ctx, stack, { quiet, isSupervised, environment })
  startWorkers(ctx, stack, quiet)
  const up = stack.move()
  return {
    host: config.publicHost,
    ports,
    ctx,
    drain: async () => {
      ctx.isDraining = true
      await ctx.drainDevices?.()
    },
    [Symbol.asyncDispose]: () => up.disposeAsync(),
  }
}

interface ListenOptions {
  /** Undefined where no device comes to. */
  quiet: QuietDevices | undefined
  isSupervised: boolean
  environment: NodeJS.ProcessEnv
}

async function listen(
  ctx: Context,
  stack: AsyncDisposableStack,
  { quiet, isSupervised, environment }: ListenOptions,
): Promise<Config['ports']> {
  const { config } = ctx
  const ports = { ...config.ports }
  if (config.role !== 'broker') {
    const pub = stack.use(await listenHttp(ctx, createPublicApp(ctx), { port: ports.public }))
    ports.public = pub.port
    ctx.authorities.urls.setPort(pub.port)
    await publishDueCrls(ctx)
  }
  if (quiet)
    Object.assign(ports, await listenToDevices(ctx, stack, { quiet, reusePort: isSupervised }))
  if (config.metricsPort !== undefined) {
    await ensureMetricsToken(config)
    const app = createBrokerApp(ctx, async (given) => await isMetricsToken(config, given))
    stack.use(await listenHttp(ctx, app, { port: config.metricsPort }))
  }
  if (config.brokers > 0) {
    const brokers = stack.use(await startBrokers(ctx, { environment, publicPort: ports.public }))
    ctx.brokers = brokers
    ctx.drainDevices = async () => await brokers[Symbol.asyncDispose]()
    Object.assign(ports, brokers.ports)
  }
  if (config.role !== 'broker') {
    const api = await listenHttps(ctx, createApp(ctx), {
      port: ports.api,
      clientCertificates: false,
      operatorCertificates: config.operatorCertificates,
    })
    ports.api = stack.use(api).port
  }
  return ports
}

/** Both listeners of devices, and all that speaks to who is connected to them. */
async function listenToDevices(
  ctx: Context,
  stack: AsyncDisposableStack,
  { quiet, reusePort }: { quiet: QuietDevices; reusePort: boolean },
): Promise<Pick<Config['ports'], 'mqtt' | 'device'>> {
  const greeting = stack.use(new Greeting(ctx))
  const downloads = createDownloadPool()
  const chunks = new ChunkDelivery(ctx, downloads)
  const broker = stack.use(
    await startBroker(ctx, {
      handlers: [...deviceMessages(greeting), ...deploymentMessages, ...eventMessages],
      direct: [chunks],
      reusePort,
      onReady: (deviceId) => greeting.connected(deviceId),
    }),
  )
  ctx.transport = broker.transport
  ctx.drainDevices = async () => await broker.drain(ctx.config.drainMs)
  // Stopped before the broker that it speaks through.
  stack.use(chunks)
  subscribeWake(ctx, (deviceId) => greeting.connected(deviceId))
  const devices = stack.use(
    await listenHttps(ctx, createDeviceApp(ctx, downloads, quiet), {
      port: ctx.config.ports.device,
      clientCertificates: true,
      reusePort,
    }),
  )
  return { mqtt: broker.port, device: devices.port }
}

import { join } from 'node:path'

import type { Logger } from 'pino'

import { alertWorkers } from './alerts/workers.ts'
import { createDownloadPool } from './artifacts/block-pool.ts'
import { ChunkDelivery } from './artifacts/chunks.ts'
import { openDirectoryStorage } from './artifacts/directory-storage.ts'
import { checkpointWorkers, closeChain } from './audit/checkpoints.ts'
import { ensureAuditKey } from './audit/keys.ts'
import { refusalWorkers, sumRefusals } from './audit/refusals.ts'
import { retentionWorkers } from './audit/retention.ts'
import { auditWorkers } from './audit/seal.ts'
import { warnOfRights } from './audit/status.ts'
import { SyslogStream } from './audit/syslog.ts'
import { webhookStreamWorkers } from './audit/webhook-stream.ts'
import { bootstrapAuthorities } from './authorities/bootstrap.ts'
import { authorityWorker, subscribeAuthorities } from './authorities/changes.ts'
import { openDataDir } from './authorities/data-dir.ts'
import { keyWorker } from './authorities/destroy-key.ts'
import { loadKek } from './authorities/kek.ts'
import { loadAuthorities } from './authorities/load.ts'
import { serverCertificateWorker } from './authorities/server-certificate.ts'
import { backupWorkers } from './backup/service.ts'
import { createLocalBus, createPostgresBus } from './bus.ts'
import { crlWorker, publishDueCrls } from './certificates/crl.ts'
import type { Config } from './config.ts'
import { ConnectionIndex } from './connections.ts'
import type { Context } from './context.ts'
import { connectPostgres, type DatabaseHandle, openEmbedded } from './db/client.ts'
import { migrateToLatest } from './db/migrate.ts'
import type { QuietDevices } from './ddi/quiet-devices.ts'
import { createQuietDevices, ddiWorkers } from './ddi/workers.ts'
import { deltaWorkers } from './deltas/workers.ts'
import { deploymentMessages } from './deployments/messages.ts'
import { subscribeWake } from './deployments/wake.ts'
import { deploymentWorkers } from './deployments/workers.ts'
import { createIdentityDirectory } from './devices/directory.ts'
import { Greeting } from './devices/greet.ts'
import { deviceMessages } from './devices/messages.ts'
import { diskWorkers } from './disk.ts'
import { renewalWorkers } from './enrollment/renewal-worker.ts'
import { enrollmentWorkers } from './enrollment/workers.ts'
import { eventMessages } from './events/messages.ts'
import { flushEvents } from './events/record.ts'
import { groupWorkers } from './groups/dynamic.ts'
import { createApp } from './http/app.ts'
import { createDeviceApp } from './http/device-app.ts'
import { listenHttp, listenHttps } from './http/listen.ts'
import { createPublicApp } from './http/public-app.ts'
import { newId } from './ids.ts'
import { ensureOnlineKeys } from './metadata/online-keys.ts'
import { warnOfEvaluation } from './metadata/roots.ts'
import { metadataWorkers } from './metadata/workers.ts'
import { createMetrics } from './metrics.ts'
import { startBroker } from './mqtt/broker.ts'
import { noTransport } from './mqtt/transport.ts'
import { ensureMetricsToken } from './operators/metrics-token.ts'
import { productVersion } from './product.ts'
import { rolloutWorkers } from './rollouts/workers.ts'
import { scepWorkers } from './scep/workers.ts'
import { signInWorkers } from './sign-in/workers.ts'
import { startClock } from './start-clock.ts'
import { startTracing, traceStatement, type Tracing } from './tracing.ts'
import { transparencyWorkers } from './transparency/workers.ts'
import { Courier } from './webhooks/courier.ts'
import { webhookWorkers } from './webhooks/workers.ts'
import { cleanupWorkers } from './workers/cleanup.ts'
import { run, type Worker } from './workers/worker.ts'

export interface RunningServer extends AsyncDisposable {
  host: string
  ports: Config['ports']
  ctx: Context
}

/**
 * Brings everything up in the order in which it is needed, and takes it down in the reverse. Whatever fails on the way
 * takes down what was already up.
 */
export async function startServer(config: Config, log: Logger): Promise<RunningServer> {
  await using stack = new AsyncDisposableStack()
  const ctx = await openContext(config, log, stack)
  const quiet = createQuietDevices(ctx)
  const listeners = await listen(ctx, stack, quiet)
  startWorkers(ctx, stack, quiet)
  const up = stack.move()
  return {
    host: config.publicHost,
    ports: listeners,
    ctx,
    [Symbol.asyncDispose]: () => up.disposeAsync(),
  }
}

async function openContext(
  config: Config,
  log: Logger,
  stack: AsyncDisposableStack,
): Promise<Context> {
  stack.use(await openDataDir(config))
  const kek = await loadKek(config)
  const tracing = stack.use(startTracing(config, productVersion))
  const handle = stack.use(await openDatabase(config, tracing))
  const applied = await migrateToLatest(handle, config.migrationDatabaseUrl)
  log.info({ database: handle.kind, applied }, 'database ready')
  const { db } = handle
  const clock = await startClock(handle, log)
  const deps = { db, clock, log, config, kek }
  await bootstrapAuthorities(deps)
  await ensureMetricsToken(config)
  await ensureOnlineKeys(deps)
  await ensureAuditKey(deps)
  await warnOfRights(deps)
  // After everything else has stopped: what it still recorded is signed.
  stack.defer(async () => {
    await sumRefusals(deps)
    await closeChain(deps)
  })
  const authorities = await loadAuthorities(deps)
  const bus = stack.use(
    handle.kind === 'postgres' ? await createPostgresBus(handle.url, log) : createLocalBus(),
  )
  const base = {
    ...deps,
    authorities,
    bus,
    metrics: createMetrics(),
    connections: new ConnectionIndex(),
  }
  subscribeAuthorities(base)
  stack.defer(() => flushEvents(base))
  await warnOfEvaluation(base)
  const identities = stack.use(await createIdentityDirectory(base))
  return {
    ...base,
    identities,
    nodeId: newId(clock.now()),
    storage: stack.use(
      await openDirectoryStorage(join(config.dataDir, 'artifacts'), config.disk.reserveBytes),
    ),
    transport: noTransport,
  }
}

async function openDatabase(config: Config, { isOn }: Tracing): Promise<DatabaseHandle> {
  const onStatement = isOn ? traceStatement : undefined
  return config.databaseUrl
    ? connectPostgres(config.databaseUrl, { onStatement })
    : await openEmbedded(join(config.dataDir, 'db'), { onStatement })
}

async function listen(
  ctx: Context,
  stack: AsyncDisposableStack,
  quiet: QuietDevices,
): Promise<Config['ports']> {
  const { ports } = ctx.config
  const pub = stack.use(await listenHttp(ctx, createPublicApp(ctx), { port: ports.public }))
  ctx.authorities.urls.setPort(pub.port)
  await publishDueCrls(ctx)
  const greeting = stack.use(new Greeting(ctx))
  const downloads = createDownloadPool()
  const chunks = new ChunkDelivery(ctx, downloads)
  const broker = stack.use(
    await startBroker(ctx, {
      handlers: [...deviceMessages(greeting), ...deploymentMessages, ...eventMessages],
      direct: [chunks],
      onReady: (deviceId) => greeting.connected(deviceId),
    }),
  )
  ctx.transport = broker.transport
  // Stopped before the broker that it speaks through.
  stack.use(chunks)
  subscribeWake(ctx, (deviceId) => greeting.connected(deviceId))
  const devices = stack.use(
    await listenHttps(ctx, createDeviceApp(ctx, downloads, quiet), {
      port: ports.device,
      clientCertificates: true,
    }),
  )
  const api = stack.use(
    await listenHttps(ctx, createApp(ctx), {
      port: ports.api,
      clientCertificates: false,
      operatorCertificates: ctx.config.operatorCertificates,
    }),
  )
  return { api: api.port, device: devices.port, mqtt: broker.port, public: pub.port }
}

function startWorkers(ctx: Context, stack: AsyncDisposableStack, quiet: QuietDevices): void {
  const { syslog } = ctx.config
  const workers: Worker[] = [
    ...auditWorkers(ctx),
    ...checkpointWorkers(ctx),
    ...refusalWorkers(ctx),
    ...retentionWorkers(ctx),
    ...webhookStreamWorkers(ctx),
    ...(syslog ? [stack.use(new SyslogStream(ctx, syslog)).worker()] : []),
    ...cleanupWorkers(ctx),
    ...webhookWorkers(ctx),
    ...alertWorkers(ctx),
    stack.use(new Courier(ctx)).worker(),
    ...diskWorkers(ctx),
    ...backupWorkers(ctx),
    ...groupWorkers(ctx),
    ...enrollmentWorkers(ctx),
    ...renewalWorkers(ctx),
    ...scepWorkers(ctx),
    ...signInWorkers(ctx),
    ...metadataWorkers(ctx),
    ...transparencyWorkers(ctx),
    ...rolloutWorkers(ctx),
    ...deploymentWorkers(ctx),
    ...deltaWorkers(ctx),
    ...ddiWorkers(ctx, quiet),
    crlWorker(ctx),
    serverCertificateWorker(ctx),
    authorityWorker(ctx),
    keyWorker(ctx),
  ]
  const stop = new AbortController()
  const running = workers.map((worker) => run(worker, ctx, stop.signal))
  stack.defer(async () => {
    stop.abort()
    await Promise.all(running)
  })
}

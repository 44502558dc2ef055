import { join as joinPath } from 'node:path'

import type { Logger } from 'pino'

import { openStorage } from './artifacts/open-storage.ts'
import { closeChain } from './audit/checkpoints.ts'
import { ensureAuditKey } from './audit/keys.ts'
import { sumRefusals } from './audit/refusals.ts'
import { warnOfRights } from './audit/status.ts'
import {
  bootstrapAuthorities,
  type InstallationDeps,
  joinInstallation,
} from './authorities/bootstrap.ts'
import { subscribeAuthorities } from './authorities/changes.ts'
import { openDataDir } from './authorities/data-dir.ts'
import { loadExistingKek, loadKek } from './authorities/kek.ts'
import { loadAuthorities } from './authorities/load.ts'
import { createLocalBus, createPostgresBus } from './bus.ts'
import type { Config } from './config.ts'
import { ConnectionIndex } from './connections.ts'
import type { Context } from './context.ts'
import { connectPostgres, type DatabaseHandle, openEmbedded } from './db/client.ts'
import { assertMigrated, migrateToLatest } from './db/migrate.ts'
import { createIdentityDirectory } from './devices/directory.ts'
import { flushEvents } from './events/record.ts'
import { newId } from './ids.ts'
import { ensureOnlineKeys } from './metadata/online-keys.ts'
import { warnOfEvaluation } from './metadata/roots.ts'
import { createMetrics } from './metrics.ts'
import { noTransport } from './mqtt/transport.ts'
import { ensureMetricsToken } from './operators/metrics-token.ts'
import { productVersion } from './product.ts'
import { startClock } from './start-clock.ts'
import { SessionTickets } from './tickets/tickets.ts'
import { startTracing, traceStatement } from './tracing.ts'

interface Opening {
  config: Config
  log: Logger
  /** What is opened is closed with it, last in first out. */
  stack: AsyncDisposableStack
  /** Another process of this server holds the data directory, and started this one. */
  isSupervised: boolean
}

type Opened = InstallationDeps & { handle: DatabaseHandle }

/** Everything that a process needs before it listens; what was opened is closed with the stack. */
export async function openContext(opening: Opening): Promise<Context> {
  const { config, log, stack } = opening
  const opened = config.role === 'broker' ? await join(opening) : await found(opening)
  const { handle, ...deps } = opened
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
  const tickets = new SessionTickets(base)
  await tickets.begin()
  return {
    ...base,
    tickets,
    identities,
    nodeId: newId(deps.clock.now()),
    storage: stack.use(await openStorage(deps)),
    transport: noTransport,
  }
}

/** The process that keeps the installation: makes it on the first start, changes the tables, signs the audit chain. */
async function found({ config, log, stack }: Opening): Promise<Opened> {
  stack.use(await openDataDir(config))
  const kek = await loadKek(config)
  const handle = await openDatabase(config, stack)
  const applied = await migrateToLatest(handle, config.migrationDatabaseUrl)
  log.info({ database: handle.kind, applied }, 'database ready')
  const deps = { db: handle.db, clock: await startClock(handle, log), log, config, kek }
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
  return { ...deps, handle }
}

/** A broker process: takes the installation as it is, and leaves the signing of the audit chain to the process that keeps it. */
async function join({ config, log, stack, isSupervised }: Opening): Promise<Opened> {
  if (!isSupervised) stack.use(await openDataDir(config))
  const kek = await loadExistingKek(config)
  const handle = await openDatabase(config, stack)
  await assertMigrated(handle)
  const deps = { db: handle.db, clock: await startClock(handle, log), log, config, kek }
  await joinInstallation(deps)
  stack.defer(async () => await sumRefusals(deps))
  return { ...deps, handle }
}

async function openDatabase(config: Config, stack: AsyncDisposableStack): Promise<DatabaseHandle> {
  const { isOn } = stack.use(startTracing(config, productVersion))
  const onStatement = isOn ? traceStatement : undefined
  return stack.use(
    config.databaseUrl
      ? connectPostgres(config.databaseUrl, { max: config.databaseConnections, onStatement })
      : await openEmbedded(joinPath(config.dataDir, 'db'), { onStatement }),
  )
}

import type { Logger } from 'pino'

import type { ArtifactStorage } from './artifacts/storage.ts'
import type { Authorities } from './authorities/authorities.ts'
import type { Bus } from './bus.ts'
import type { Clock } from './clock.ts'
import type { Config } from './config.ts'
import type { ConnectionIndex } from './connections.ts'
import type { Db } from './db/client.ts'
import type { IdentityDirectory } from './identity.ts'
import type { Metrics } from './metrics.ts'
import type { DeviceTransport } from './mqtt/transport.ts'
import type { TicketSecret } from './tls.ts'

/** The broker processes that this one started (processes/brokers.ts). */
export interface BrokerProcesses {
  readonly wanted: number
  running: () => number
  /** What each has counted, as prom-client gives it; a process that does not answer soon is left out. */
  metrics: () => Promise<object[][]>
}

/**
 * Everything with a lifetime, made once in start.ts and passed down. There are no other singletons. A service takes
 * the part of it that it needs (`Pick<Context, 'db' | 'clock'>`), so a test passes just that.
 */
export interface Context {
  config: Config
  db: Db
  clock: Clock
  log: Logger
  metrics: Metrics
  /** Of this process's run: presence rows carry it, so that a dead process's rows can be told. */
  nodeId: string
  bus: Bus
  /** 32 bytes from FLEETSEAL_KEK_FILE: wraps every private key at rest. */
  kek: Buffer
  authorities: Authorities
  identities: IdentityDirectory
  connections: ConnectionIndex
  storage: ArtifactStorage
  transport: DeviceTransport
  /** Where devices are connected, when not to this process. */
  brokers?: BrokerProcesses
  /** What session tickets of devices are sealed with; without it each listener has a secret of its own. */
  tickets?: TicketSecret
  /** Ends what devices have open here, before the rest stops; undefined where none come to. */
  drainDevices?: () => Promise<void>
  /** It stops: balancers are to send nobody any more. */
  isDraining?: boolean
  /**
   * One check of one route (`GET /devices`) that is left out. For the test that proves that a missing check is noticed; no
   * server ever has it (test/rules/lifted.test.ts).
   */
  liftedForTest?: { route: string; check: 'permission' | 'reach' }
}

import type { Config } from './config.ts'
import { MigrationError } from './db/migration-error.ts'

const variables = {
  api: 'FLEETSEAL_API_PORT',
  device: 'FLEETSEAL_DEVICE_PORT',
  mqtt: 'FLEETSEAL_MQTT_PORT',
  public: 'FLEETSEAL_PUBLIC_PORT',
  metrics: 'FLEETSEAL_METRICS_PORT',
} as const

const listening: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is in use by another process: stop that',
  EACCES: 'may not be opened by this user: allow it',
  EADDRNOTAVAIL: 'is not at an address of this machine: correct FLEETSEAL_BIND',
}

/** By error code of Node, or SQLSTATE of PostgreSQL. */
const database: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody answers there: start PostgreSQL, or correct the host and port',
  ENOTFOUND: 'there is no such host: correct it',
  EAI_AGAIN: 'the name of its host cannot be looked up: correct it, or the DNS of this machine',
  ETIMEDOUT: 'it does not answer: look for a firewall on the way, or correct the host and port',
  EHOSTUNREACH: 'its host cannot be reached: look at the network, or correct the host',
  '25006': 'it takes no changes, so it is a standby or set to be read only: give the primary',
  '28000': 'it does not let this user in: correct the user, or allow it in pg_hba.conf',
  '28P01': 'the password is wrong: correct it',
  '3D000': 'there is no such database: make it with createdb, or correct the name',
  '53300':
    'it has too many connections: raise its max_connections, or lower FLEETSEAL_DATABASE_CONNECTIONS',
  '57P03': 'it is starting up, or shutting down: start again in a moment',
}

/**
 * What kept the server from starting, in words, where it is for its operator to mend: a port that cannot be had, a database
 * that cannot be reached or is another version's. Undefined for everything else, which is our bug. Names no secret of the configuration.
 */
export function startProblem(
  error: unknown,
  config: Pick<Config, 'ports' | 'metricsPort' | 'bind' | 'databaseUrl'>,
): string | undefined {
  if (error instanceof MigrationError) return error.message
  if (!(error instanceof Error) || !('code' in error)) return undefined
  const code = String(error.code)
  if ('syscall' in error && error.syscall === 'listen') {
    const why = listening[code]
    const port = 'port' in error ? Number(error.port) : undefined
    const ports = { ...config.ports, metrics: config.metricsPort }
    const name = (['api', 'device', 'mqtt', 'public', 'metrics'] as const).find(
      (one) => ports[one] === port,
    )
    if (!why || !name) return undefined
    return `Port ${port} (${config.bind}) ${why}, or choose another port with ${variables[name]}`
  }
  const why = config.databaseUrl === undefined ? undefined : database[code]
  return why && `The database of DATABASE_URL cannot be used: ${why} (${code})`
}

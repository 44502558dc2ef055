import { z } from 'zod'

import { parseNetworks } from './proxy-header.ts'

const mostBrokers = 64
/** What one broker process needs to store reports in groups while it answers devices. */
const fewestConnections = 3

/** Which part of the server a process is (architecture.md §9). */
export const processVariables = {
  FLEETSEAL_ROLE: z
    .enum(['all', 'api', 'broker'], { error: 'must be all, api or broker' })
    .default('all'),
  FLEETSEAL_BROKERS: z
    .string()
    .regex(/^\d{1,2}$/, `must be a number from 0 to ${mostBrokers}`)
    .transform(Number)
    .pipe(z.number().max(mostBrokers, `must be a number from 0 to ${mostBrokers}`))
    .default(0),
  FLEETSEAL_DATABASE_CONNECTIONS: z.coerce
    .number()
    .int()
    .min(fewestConnections)
    .max(100)
    .optional(),
  FLEETSEAL_METRICS_PORT: z
    .string()
    .regex(/^\d{1,5}$/, 'must be a port number, 1 to 65535')
    .transform(Number)
    .pipe(z.number().min(1, 'must be a port number, 1 to 65535').max(65_535))
    .optional(),
  FLEETSEAL_DRAIN_SECONDS: z
    .string()
    .regex(/^\d{1,3}$/, 'must be a number from 0 to 600')
    .transform(Number)
    .pipe(z.number().max(600, 'must be a number from 0 to 600'))
    .default(3),
  FLEETSEAL_CONNECT_RATE: z
    .string()
    .regex(/^\d{1,6}$/, 'must be a number from 1 to 100000')
    .transform(Number)
    .pipe(
      z
        .number()
        .min(1, 'must be a number from 1 to 100000')
        .max(100_000, 'must be a number from 1 to 100000'),
    )
    .default(500),
  FLEETSEAL_PROXY_FROM: z
    .string()
    .max(4_000)
    .optional()
    .transform((list, check) => {
      const networks = list ? parseNetworks(list) : undefined
      if (!list || networks) return networks
      check.addIssue(
        'must be at most 64 addresses or networks with commas between, like 10.0.0.0/8',
      )
      return z.NEVER
    }),
} as const

type Given = z.infer<z.ZodObject<typeof processVariables>>

export function processProblems(environment: NodeJS.ProcessEnv): string[] {
  const role = environment['FLEETSEAL_ROLE'] ?? 'all'
  const brokers = Number(environment['FLEETSEAL_BROKERS'] ?? 0)
  const isAlone = !environment['DATABASE_URL']
  const problems: string[] = []
  if ((role === 'api' || role === 'broker') && isAlone) {
    problems.push(
      `FLEETSEAL_ROLE: only one process can open the embedded database, so "${role}" needs PostgreSQL: set DATABASE_URL`,
    )
  }
  if (brokers > 0 && isAlone) {
    problems.push(
      'FLEETSEAL_BROKERS: only one process can open the embedded database: set DATABASE_URL, or leave FLEETSEAL_BROKERS out',
    )
  }
  if (brokers > 0 && role !== 'all') {
    problems.push(
      `FLEETSEAL_BROKERS: a process with FLEETSEAL_ROLE=${role} starts no others: leave one of the two out`,
    )
  }
  const metricsPort = environment['FLEETSEAL_METRICS_PORT']
  if (metricsPort !== undefined && role !== 'broker') {
    problems.push(
      'FLEETSEAL_METRICS_PORT: only for FLEETSEAL_ROLE=broker; every other process has /metrics on FLEETSEAL_API_PORT',
    )
  }
  return problems
}

export function processSettings(given: Given) {
  return {
    /** From there every TLS connection begins with a PROXY header, from nowhere else; undefined: no such place. */
    proxyFrom: given.FLEETSEAL_PROXY_FROM,
    /** TLS handshakes that devices may begin, a second and process. */
    connectRate: given.FLEETSEAL_CONNECT_RATE,
    /** Over how long a process that stops spreads the end of its devices' connections. */
    drainMs: given.FLEETSEAL_DRAIN_SECONDS * 1_000,
    /** `all`: everything in this process, or with `brokers` in processes that it starts. */
    role: given.FLEETSEAL_ROLE,
    /** So many broker processes are started; 0: this process is the broker. */
    brokers: given.FLEETSEAL_BROKERS,
    /** Of a broker: plain HTTP for health, readiness and metrics; undefined: none. */
    metricsPort: given.FLEETSEAL_METRICS_PORT,
    /** To PostgreSQL, of this process, at most; two more listen and migrate. */
    databaseConnections: given.FLEETSEAL_DATABASE_CONNECTIONS ?? 10,
    /** The same of each broker process: forty together, as far as that is enough for each. */
    brokerConnections:
      given.FLEETSEAL_DATABASE_CONNECTIONS ??
      Math.max(
        fewestConnections,
        Math.min(10, Math.floor(40 / Math.max(1, given.FLEETSEAL_BROKERS))),
      ),
  }
}

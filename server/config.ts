import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

import { z } from 'zod'

import { auditProblems, auditSettings, auditVariables } from './audit-config.ts'
import { backupProblems, backupSettings, backupVariables } from './backup-config.ts'
import { processProblems, processSettings, processVariables } from './process-config.ts'
import { s3Problems, s3Settings, s3Variables } from './s3-config.ts'
import { signInProblems, signInSettings, signInVariables } from './sign-in-config.ts'
import { smtpProblems, smtpSettings, smtpVariables } from './smtp-config.ts'
import { tracingConfig, tracingSettings } from './tracing-config.ts'

/** Digits only: read as a number, a variable that is set to nothing would silently mean 0, any free port. */
const port = (fallback: number) =>
  z
    .string()
    .regex(/^\d{1,5}$/, 'must be a port number, 0 to 65535')
    .transform(Number)
    .pipe(z.number().max(65_535, 'must be a port number, 0 to 65535'))
    .default(fallback)
const hostName = z
  .string()
  .max(253)
  .regex(/^(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*$/, 'must be a host name')

const Environment = z.object({
  DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/, error: 'must be a postgres:// URL' })
    .optional(),
  FLEETSEAL_DATA_DIR: z.string().min(1).default('./data'),
  FLEETSEAL_BIND: z
    .union([z.ipv4(), z.ipv6()], { error: 'must be an IP address' })
    .default('127.0.0.1'),
  FLEETSEAL_PUBLIC_HOST: z
    .union([hostName, z.ipv4(), z.ipv6()], { error: 'must be a host name or IP address' })
    .default('localhost'),
  FLEETSEAL_API_PORT: port(8443),
  FLEETSEAL_DEVICE_PORT: port(8444),
  FLEETSEAL_MQTT_PORT: port(8883),
  FLEETSEAL_PUBLIC_PORT: port(8080),
  FLEETSEAL_KEK_FILE: z.string().min(1).optional(),
  FLEETSEAL_ROOT_FILE: z.string().min(1).optional(),
  FLEETSEAL_PKCS11_MODULE: z
    .string()
    .startsWith('/', 'must be the absolute path of a PKCS #11 library')
    .max(4096)
    .optional(),
  FLEETSEAL_PKCS11_PIN_FILE: z.string().min(1).optional(),
  ...processVariables,
  FLEETSEAL_MAX_ARTIFACT_MB: z.coerce.number().int().min(1).max(1_048_576).default(8_192),
  FLEETSEAL_MAX_IN_FLIGHT: z.coerce.number().int().min(1).max(100_000_000).optional(),
  FLEETSEAL_API_RATE: z.coerce.number().int().min(1).max(1_000_000).default(100),
  ...backupVariables,
  ...s3Variables,
  FLEETSEAL_DISK_LOW_MB: z.coerce.number().int().min(1).max(1_048_576).default(1_024),
  FLEETSEAL_DISK_RESERVE_MB: z.coerce.number().int().min(0).max(1_048_576).default(64),
  ...auditVariables,
  FLEETSEAL_EVENT_DAYS: z.coerce.number().int().min(1).max(36_500).default(400),
  ...smtpVariables,
  FLEETSEAL_WEBHOOK_PRIVATE: z.enum(['refuse', 'allow']).default('refuse'),
  FLEETSEAL_TARGET_TOKENS: z.enum(['refuse', 'allow']).default('refuse'),
  FLEETSEAL_ROLLOUT_APPROVALS: z
    .string()
    .regex(/^([0-9]|10)$/, 'must be a number from 0 to 10')
    .transform(Number)
    .default(0),
  ...signInVariables,
  ...tracingSettings,
  FLEETSEAL_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
})

const secretNames = [
  'DATABASE_URL',
  'FLEETSEAL_MIGRATION_DATABASE_URL',
  'FLEETSEAL_SMTP_URL',
  'FLEETSEAL_OIDC_CLIENT_SECRET',
  'FLEETSEAL_OTLP_HEADERS',
  'FLEETSEAL_S3_ACCESS_KEY_ID',
  'FLEETSEAL_S3_SECRET_ACCESS_KEY',
] as const

export type Config = ReturnType<typeof loadConfig>

/** The configuration is wrong: `main.ts` prints the list and exits with 2. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/**
 * Reads the environment once (architecture.md §5). Every problem is reported at the same time, by variable name.
 * Secrets may come from a file named by `NAME_FILE`. An unknown `FLEETSEAL_…` name is a mistake too: a
 * misspelled variable must not silently leave a default in force.
 */
export function loadConfig(environment: NodeJS.ProcessEnv) {
  const { merged, problems } = withSecretFiles(environment)
  const parsed = Environment.safeParse(merged)
  if (!parsed.success) {
    for (const issue of parsed.error.issues)
      problems.push(`${issue.path.join('.')}: ${issue.message}`)
  }
  problems.push(...auditProblems(merged), ...backupProblems(merged), ...smtpProblems(merged))
  problems.push(...samePorts(merged), ...signInProblems(merged), ...processProblems(merged))
  problems.push(...s3Problems(merged))
  if (!merged['FLEETSEAL_PKCS11_MODULE'] !== !merged['FLEETSEAL_PKCS11_PIN_FILE']) {
    problems.push('FLEETSEAL_PKCS11_MODULE: set it together with FLEETSEAL_PKCS11_PIN_FILE')
  }
  const files = secretNames.map((name) => `${name}_FILE`)
  const known = new Set([...Object.keys(Environment.shape), ...files])
  for (const name of Object.keys(environment)) {
    if (name.startsWith('FLEETSEAL_') && !known.has(name) && !clientNames.has(name)) {
      problems.push(`${name}: no such setting; there are ${[...known].join(', ')}`)
    }
  }
  if (!parsed.success || problems.length > 0) {
    throw new ConfigError(`The configuration is not valid:\n  ${problems.join('\n  ')}`)
  }
  return freeze(parsed.data)
}

/** Variables of the command line tool and the device agent, which may be set in the same shell. */
const clientNames = new Set([
  'FLEETSEAL_SERVER',
  'FLEETSEAL_API_KEY',
  'FLEETSEAL_API_KEY_FILE',
  'FLEETSEAL_CA',
])

function freeze(env: z.infer<typeof Environment>) {
  const dataDir = resolve(env.FLEETSEAL_DATA_DIR)
  return Object.freeze({
    databaseUrl: env.DATABASE_URL,
    dataDir,
    kekFile: env.FLEETSEAL_KEK_FILE ? resolve(env.FLEETSEAL_KEK_FILE) : join(dataDir, 'kek'),
    /** The first start takes this root, whose key is elsewhere, instead of making one. */
    rootFile: env.FLEETSEAL_ROOT_FILE ? resolve(env.FLEETSEAL_ROOT_FILE) : undefined,
    /** How keys in a token are reached. The PIN is read each time it is needed, and kept nowhere. */
    pkcs11: tokenAccess(env),
    ...processSettings(env),
    bind: env.FLEETSEAL_BIND,
    publicHost: env.FLEETSEAL_PUBLIC_HOST,
    ports: {
      api: env.FLEETSEAL_API_PORT,
      device: env.FLEETSEAL_DEVICE_PORT,
      mqtt: env.FLEETSEAL_MQTT_PORT,
      public: env.FLEETSEAL_PUBLIC_PORT,
    },
    maxArtifactBytes: env.FLEETSEAL_MAX_ARTIFACT_MB * 1024 * 1024,
    /** Deployments that hold a slot, over all rollouts, at most; undefined: no bound. */
    maxInFlight: env.FLEETSEAL_MAX_IN_FLIGHT,
    /** Requests a second of one API key or session, on the average of six seconds. */
    apiRate: env.FLEETSEAL_API_RATE,
    ...backupSettings(env),
    ...s3Settings(env),
    /** Below `lowBytes` free the disk counts as nearly full, below `reserveBytes` as full. */
    disk: {
      lowBytes: env.FLEETSEAL_DISK_LOW_MB * 1024 * 1024,
      reserveBytes: env.FLEETSEAL_DISK_RESERVE_MB * 1024 * 1024,
    },
    ...auditSettings(env),
    ...smtpSettings(env),
    /** How long security events are kept. */
    eventDays: env.FLEETSEAL_EVENT_DAYS,
    /** May webhooks go to addresses of private networks and this machine? */
    privateWebhooks: env.FLEETSEAL_WEBHOOK_PRIVATE === 'allow',
    /** May polling devices show a token instead of a certificate? A weakness (docs/devices/). */
    targetTokens: env.FLEETSEAL_TARGET_TOKENS === 'allow',
    /** So many people have to approve any rollout, whatever its author asks for. */
    rolloutApprovals: env.FLEETSEAL_ROLLOUT_APPROVALS,
    ...signInSettings(env),
    /** Where traces go; undefined: nowhere. */
    tracing: tracingConfig(env),
    logLevel: env.FLEETSEAL_LOG_LEVEL,
  })
}

function tokenAccess(env: z.infer<typeof Environment>) {
  const { FLEETSEAL_PKCS11_MODULE: modulePath, FLEETSEAL_PKCS11_PIN_FILE: pinFile } = env
  if (modulePath === undefined || pinFile === undefined) return undefined
  return { modulePath, pinFile: resolve(pinFile) }
}

const portNames = [
  'FLEETSEAL_API_PORT',
  'FLEETSEAL_DEVICE_PORT',
  'FLEETSEAL_MQTT_PORT',
  'FLEETSEAL_PUBLIC_PORT',
] as const

/** Each listener needs a port of its own; of 0, any free one, the system gives each another. */
function samePorts(environment: NodeJS.ProcessEnv): string[] {
  const taken = new Map<number, string>()
  return portNames.flatMap((name) => {
    const { data } = Environment.shape[name].safeParse(environment[name])
    if (data === undefined || data === 0) return []
    const other = taken.get(data)
    if (other !== undefined) return [`${name}: ${data} is the port of ${other} too; choose another`]
    taken.set(data, name)
    return []
  })
}

function withSecretFiles(environment: NodeJS.ProcessEnv) {
  const merged = { ...environment }
  const problems: string[] = []
  for (const name of secretNames) {
    const file = environment[`${name}_FILE`]
    if (!file) continue
    if (merged[name]) problems.push(`${name}: set either ${name} or ${name}_FILE, not both`)
    try {
      merged[name] = readFileSync(file, 'utf8').trim()
    } catch {
      problems.push(`${name}_FILE: cannot be read`)
    }
  }
  return { merged, problems }
}

import { resolve } from 'node:path'

import { z } from 'zod'

/** Settings of the audit log and of the rights in its database (docs/audit.md). */
export const auditVariables = {
  FLEETSEAL_AUDIT_DAYS: z.coerce
    .number()
    .int()
    .min(90, 'must be at least 90 days')
    .max(36_500)
    .optional(),
  FLEETSEAL_MIGRATION_DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/, error: 'must be a postgres:// URL' })
    .optional(),
  FLEETSEAL_SYSLOG_URL: z
    .url({ protocol: /^syslog\+tls$/, error: 'must be a syslog+tls://HOST:PORT URL' })
    .optional(),
  FLEETSEAL_SYSLOG_CA_FILE: z.string().min(1).optional(),
  FLEETSEAL_SYSLOG_CERT_FILE: z.string().min(1).optional(),
  FLEETSEAL_SYSLOG_KEY_FILE: z.string().min(1).optional(),
}

type Given = z.infer<z.ZodObject<typeof auditVariables>>

export function auditSettings(env: Given) {
  return {
    /** How long audit rows are kept; undefined: for ever. */
    auditDays: env.FLEETSEAL_AUDIT_DAYS,
    /** The owner of the tables, who changes them; undefined: the server's own role does. */
    migrationDatabaseUrl: env.FLEETSEAL_MIGRATION_DATABASE_URL,
    /** Where audit rows are sent (RFC 5424 over TLS). */
    syslog: syslogSettings(env),
  }
}

const syslogTlsPort = 6_514

function syslogSettings(env: Given) {
  if (env.FLEETSEAL_SYSLOG_URL === undefined) return undefined
  const url = new URL(env.FLEETSEAL_SYSLOG_URL)
  const file = (path: string | undefined) => (path === undefined ? undefined : resolve(path))
  return {
    host: url.hostname.replaceAll(/^\[|\]$/g, ''),
    port: url.port === '' ? syslogTlsPort : Number(url.port),
    caFile: file(env.FLEETSEAL_SYSLOG_CA_FILE),
    certFile: file(env.FLEETSEAL_SYSLOG_CERT_FILE),
    keyFile: file(env.FLEETSEAL_SYSLOG_KEY_FILE),
  }
}
export type SyslogSettings = NonNullable<ReturnType<typeof syslogSettings>>

/** What fits no single variable. */
export function auditProblems(environment: NodeJS.ProcessEnv): string[] {
  const problems: string[] = []
  const has = (name: string) => Boolean(environment[name])
  if (has('FLEETSEAL_SYSLOG_CERT_FILE') !== has('FLEETSEAL_SYSLOG_KEY_FILE')) {
    problems.push('FLEETSEAL_SYSLOG_CERT_FILE: set it together with FLEETSEAL_SYSLOG_KEY_FILE')
  }
  if (has('FLEETSEAL_SYSLOG_CA_FILE') && !has('FLEETSEAL_SYSLOG_URL')) {
    problems.push('FLEETSEAL_SYSLOG_CA_FILE: set it together with FLEETSEAL_SYSLOG_URL')
  }
  if (has('FLEETSEAL_MIGRATION_DATABASE_URL') && !has('DATABASE_URL')) {
    problems.push('FLEETSEAL_MIGRATION_DATABASE_URL: set it together with DATABASE_URL')
  }
  return problems
}

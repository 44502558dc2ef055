import { type DestinationStream, type Logger, pino } from 'pino'

/** Names under which a secret could reach a log line, at any of the depths we log. */
const secretNames = [
  'authorization',
  'cookie',
  'token',
  'apiKey',
  'password',
  'passphrase',
  'secret',
  'privateKey',
  'kek',
  'setCookie',
  'logout_token',
  'id_token',
  'access_token',
  'client_secret',
  'recoveryCode',
  // Of a redirect to the store of artifacts: it is signed, and good for whoever has it.
  'location',
  'link',
]

/** One JSON line per event on standard output; secrets are replaced whatever the caller passes. */
export function createLogger(level: string, destination?: DestinationStream): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: {
        paths: secretNames.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
        censor: '[redacted]',
      },
    },
    ...(destination ? ([destination] as const) : []),
  )
}

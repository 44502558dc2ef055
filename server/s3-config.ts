import { isIP } from 'node:net'

import { z } from 'zod'

/** The bucket in which artifacts are kept instead of the data directory. */
export const s3Variables = {
  FLEETSEAL_S3_ENDPOINT: z
    .url({ protocol: /^https?$/, error: 'must be an https:// URL' })
    .max(2_048)
    .optional(),
  FLEETSEAL_S3_BUCKET: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'must be the name of a bucket')
    .optional(),
  FLEETSEAL_S3_REGION: z
    .string()
    .regex(/^[a-zA-Z0-9-]{1,64}$/, 'must be the name of a region')
    .default('us-east-1'),
  FLEETSEAL_S3_ACCESS_KEY_ID: z.string().min(1).max(256).optional(),
  FLEETSEAL_S3_SECRET_ACCESS_KEY: z.string().min(1).max(1_024).optional(),
  FLEETSEAL_S3_PREFIX: z
    .string()
    .regex(
      /^[A-Za-z0-9_-]{1,64}(\/[A-Za-z0-9_-]{1,64}){0,7}\/?$/,
      'must be a path of letters, digits, - and _',
    )
    .optional(),
  FLEETSEAL_S3_PATH_STYLE: z.enum(['on', 'off']).default('on'),
  FLEETSEAL_S3_PLAIN_HTTP: z.enum(['refuse', 'allow']).default('refuse'),
  FLEETSEAL_S3_REDIRECT: z.enum(['on', 'off']).default('off'),
  FLEETSEAL_S3_REDIRECT_ENDPOINT: z
    .url({ protocol: /^https?$/, error: 'must be an https:// URL' })
    .max(2_048)
    .optional(),
  FLEETSEAL_S3_REDIRECT_SECONDS: z.coerce.number().int().min(60).max(3_600).default(300),
} as const

type Given = z.infer<z.ZodObject<typeof s3Variables>>

export interface S3Settings {
  endpoint: string
  bucket: string
  region: string
  accessKeyId: string
  secretAccessKey: string
  /** Before every key; empty, or it ends in a slash. */
  prefix: string
  pathStyle: boolean
  /** Undefined: devices never learn of the bucket. */
  redirect?: S3Redirect | undefined
}

/** Links to objects, for devices that ask for them. */
export interface S3Redirect {
  /** By which devices reach the store. */
  endpoint: string
  /** How long a link is good. */
  lifeSeconds: number
}

/** Ten thousand parts of 8 MiB (artifacts/s3-storage.ts). */
const maxObjectMegabytes = 80_000

const together = ['ENDPOINT', 'BUCKET', 'ACCESS_KEY_ID', 'SECRET_ACCESS_KEY'] as const

export function s3Problems(environment: NodeJS.ProcessEnv): string[] {
  const named = together.map((name) => `FLEETSEAL_S3_${name}`)
  const missing = named.filter((name) => !environment[name])
  const isRedirecting = environment['FLEETSEAL_S3_REDIRECT'] === 'on'
  if (missing.length === named.length) {
    return isRedirecting
      ? [`FLEETSEAL_S3_REDIRECT: needs a bucket to send devices to: ${named.join(', ')}`]
      : []
  }
  const problems = missing.map(
    (name) => `${name}: needed for artifacts in a bucket, with ${named.join(', ')}`,
  )
  if (Number(environment['FLEETSEAL_MAX_ARTIFACT_MB']) > maxObjectMegabytes) {
    problems.push(
      `FLEETSEAL_MAX_ARTIFACT_MB: at most ${maxObjectMegabytes} for artifacts in a bucket`,
    )
  }
  if (isRedirecting) problems.push(...redirectProblems(environment))
  const endpoint = URL.parse(environment['FLEETSEAL_S3_ENDPOINT'] ?? '')
  if (!endpoint) return problems
  problems.push(...moreThanServer('FLEETSEAL_S3_ENDPOINT', endpoint))
  const isPlain = endpoint.protocol === 'http:' && !isLoopback(endpoint.hostname)
  if (isPlain && environment['FLEETSEAL_S3_PLAIN_HTTP'] !== 'allow') {
    problems.push(
      'FLEETSEAL_S3_ENDPOINT: must be https, or set FLEETSEAL_S3_PLAIN_HTTP=allow in a network that you trust',
    )
  }
  return problems
}

/** Whoever reads a link on its way has the bytes for as long as it is good: `allow` is about this machine's own network only. */
function redirectProblems(environment: NodeJS.ProcessEnv): string[] {
  const given = environment['FLEETSEAL_S3_REDIRECT_ENDPOINT']
  const name = given ? 'FLEETSEAL_S3_REDIRECT_ENDPOINT' : 'FLEETSEAL_S3_ENDPOINT'
  const endpoint = URL.parse(environment[name] ?? '')
  if (!endpoint) return []
  const problems = given ? moreThanServer(name, endpoint) : []
  if (endpoint.protocol === 'http:' && !isLoopback(endpoint.hostname)) {
    problems.push(
      `${name}: must be https with FLEETSEAL_S3_REDIRECT=on; FLEETSEAL_S3_REDIRECT_ENDPOINT names what devices use where that is another`,
    )
  }
  return problems
}

function moreThanServer(name: string, { username, password, search, hash }: URL): string[] {
  return username || password || search || hash
    ? [`${name}: must name the server only; keys have variables of their own`]
    : []
}

/** Undefined: artifacts are in the data directory. */
export function s3Settings(given: Given): { s3: S3Settings | undefined } {
  const {
    FLEETSEAL_S3_ENDPOINT: endpoint,
    FLEETSEAL_S3_BUCKET: bucket,
    FLEETSEAL_S3_ACCESS_KEY_ID: accessKeyId,
    FLEETSEAL_S3_SECRET_ACCESS_KEY: secretAccessKey,
    FLEETSEAL_S3_PREFIX: prefix = '',
  } = given
  if (!endpoint || !bucket || !accessKeyId || !secretAccessKey) return { s3: undefined }
  return {
    s3: {
      endpoint,
      bucket,
      region: given.FLEETSEAL_S3_REGION,
      accessKeyId,
      secretAccessKey,
      prefix: prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`,
      pathStyle: given.FLEETSEAL_S3_PATH_STYLE === 'on',
      redirect:
        given.FLEETSEAL_S3_REDIRECT === 'on'
          ? {
              endpoint: given.FLEETSEAL_S3_REDIRECT_ENDPOINT ?? endpoint,
              lifeSeconds: given.FLEETSEAL_S3_REDIRECT_SECONDS,
            }
          : undefined,
    },
  }
}

function isLoopback(hostname: string): boolean {
  if (hostname === 'localhost' || hostname === '[::1]') return true
  return isIP(hostname) === 4 && hostname.startsWith('127.')
}

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
}

/** Ten thousand parts of 8 MiB (artifacts/s3-storage.ts). */
const maxObjectMegabytes = 80_000

const together = ['ENDPOINT', 'BUCKET', 'ACCESS_KEY_ID', 'SECRET_ACCESS_KEY'] as const

export function s3Problems(environment: NodeJS.ProcessEnv): string[] {
  const named = together.map((name) => `FLEETSEAL_S3_${name}`)
  const missing = named.filter((name) => !environment[name])
  if (missing.length === named.length) return []
  const problems = missing.map(
    (name) => `${name}: needed for artifacts in a bucket, with ${named.join(', ')}`,
  )
  if (Number(environment['FLEETSEAL_MAX_ARTIFACT_MB']) > maxObjectMegabytes) {
    problems.push(
      `FLEETSEAL_MAX_ARTIFACT_MB: at most ${maxObjectMegabytes} for artifacts in a bucket`,
    )
  }
  const endpoint = URL.parse(environment['FLEETSEAL_S3_ENDPOINT'] ?? '')
  if (!endpoint) return problems
  if (endpoint.username || endpoint.password || endpoint.search || endpoint.hash) {
    problems.push(
      'FLEETSEAL_S3_ENDPOINT: must name the server only; keys have variables of their own',
    )
  }
  const isPlain = endpoint.protocol === 'http:' && !isLoopback(endpoint.hostname)
  if (isPlain && environment['FLEETSEAL_S3_PLAIN_HTTP'] !== 'allow') {
    problems.push(
      'FLEETSEAL_S3_ENDPOINT: must be https, or set FLEETSEAL_S3_PLAIN_HTTP=allow in a network that you trust',
    )
  }
  return problems
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
    },
  }
}

function isLoopback(hostname: string): boolean {
  if (hostname === 'localhost' || hostname === '[::1]') return true
  return isIP(hostname) === 4 && hostname.startsWith('127.')
}

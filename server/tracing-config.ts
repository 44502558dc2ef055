import { z } from 'zod'

/** `name=value,name=value`, as OTEL_EXPORTER_OTLP_HEADERS is written. */
const headerList =
  /^[A-Za-z0-9-]{1,64}=[\x21-\x2b\x2d-\x7e]{1,2000}(,[A-Za-z0-9-]{1,64}=[\x21-\x2b\x2d-\x7e]{1,2000}){0,9}$/

/** The settings of traces (architecture.md §5). */
export const tracingSettings = {
  FLEETSEAL_OTLP_ENDPOINT: z
    .url({ protocol: /^https?$/, error: 'must be an http:// or https:// URL' })
    .max(2_000)
    .optional(),
  FLEETSEAL_OTLP_HEADERS: z
    .string()
    .regex(headerList, 'must be NAME=VALUE, several separated by commas')
    .optional(),
  FLEETSEAL_TRACE_RATIO: z
    .string()
    .regex(/^(0(\.\d{1,6})?|1(\.0{1,6})?)$/, 'must be a number from 0 to 1')
    .transform(Number)
    .default(1),
}

export interface TracingConfig {
  /** The whole URL of the traces endpoint, `…/v1/traces`. */
  endpoint: string
  headers: Readonly<Record<string, string>>
  /** Share of the traces that begin here; what comes with a trace of its own follows the decision made there. */
  ratio: number
}

/** Undefined: nothing is traced. */
export function tracingConfig(env: {
  FLEETSEAL_OTLP_ENDPOINT?: string | undefined
  FLEETSEAL_OTLP_HEADERS?: string | undefined
  FLEETSEAL_TRACE_RATIO: number
}): TracingConfig | undefined {
  if (env.FLEETSEAL_OTLP_ENDPOINT === undefined) return undefined
  const url = new URL(env.FLEETSEAL_OTLP_ENDPOINT)
  // As the standard variable means it: the base, below which each signal has its path.
  if (!url.pathname.endsWith('/v1/traces')) {
    url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/traces`
  }
  const pairs = (env.FLEETSEAL_OTLP_HEADERS ?? '').split(',').filter(Boolean)
  const headers = Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=')
      return [pair.slice(0, at).toLowerCase(), pair.slice(at + 1)]
    }),
  )
  return { endpoint: url.href, headers, ratio: env.FLEETSEAL_TRACE_RATIO }
}

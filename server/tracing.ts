import {
  context,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TracerProvider,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace'
import type { LogEvent } from 'kysely'

import type { Config } from './config.ts'

/** What this process hands on to OpenTelemetry; made once, before anything is traced. */
export interface Tracing extends AsyncDisposable {
  isOn: boolean
}

/** Spans that wait to be sent; what is above is dropped, for a collector that is away must not cost memory. */
const maxWaiting = 2_048
const maxBatch = 512
const sendEveryMs = 5_000
const exportTimeoutMs = 5_000
const maxAttributeLength = 2_000

let isOn = false

/**
 * Sends traces by OTLP over HTTP in JSON to `config.tracing.endpoint`, where configured; else nothing is traced and
 * nothing costs anything. Spans carry routes, statements without their values, counts and outcomes: no names, addresses, tokens or bodies.
 */
export function startTracing({ tracing }: Pick<Config, 'tracing'>, version: string): Tracing {
  if (!tracing) return { isOn: false, [Symbol.asyncDispose]: async () => {} }
  const exporter = new OTLPTraceExporter({
    url: tracing.endpoint,
    headers: { ...tracing.headers },
    timeoutMillis: exportTimeoutMs,
  })
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': 'fleetseal', 'service.version': version }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(tracing.ratio) }),
    spanLimits: { attributeValueLengthLimit: maxAttributeLength },
    spanProcessors: [
      new BatchSpanProcessor({
        exporter,
        maxQueueSize: maxWaiting,
        maxExportBatchSize: maxBatch,
        scheduledDelayMillis: sendEveryMs,
        exportTimeoutMillis: exportTimeoutMs,
      }),
    ],
  })
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  propagation.setGlobalPropagator(new W3CTraceContextPropagator())
  trace.setGlobalTracerProvider(provider)
  isOn = true
  return {
    isOn: true,
    [Symbol.asyncDispose]: async () => {
      isOn = false
      // A collector that is away may not hold up the end of the process.
      await provider.shutdown().catch(() => {})
      trace.disable()
      propagation.disable()
      context.disable()
    },
  }
}

const tracer = () => trace.getTracer('fleetseal')

export type SpanFacts = Readonly<Record<string, string | number | boolean>>

/** Does some work inside a span of that name; just does it when nothing is traced. What it throws marks the span as failed. */
export async function traced<T>(
  name: string,
  facts: SpanFacts,
  work: () => Promise<T>,
): Promise<T> {
  if (!isOn) return await work()
  return await tracer().startActiveSpan(name, { attributes: { ...facts } }, async (span) => {
    try {
      return await work()
    } catch (error) {
      fail(span, error)
      throw error
    } finally {
      span.end()
    }
  })
}

export interface RequestSpan {
  traceId: string
  /** Runs what follows inside the span. */
  run: (work: () => void) => void
  end: (outcome: { method: string; route: string | undefined; status: number }) => void
}

/**
 * A span for a request that came with these headers (W3C Trace Context). Undefined when nothing is traced.
 */
export function startRequest(
  headers: Record<string, string | string[] | undefined>,
  facts: SpanFacts,
): RequestSpan | undefined {
  if (!isOn) return undefined
  const { traceparent, tracestate } = headers
  const carrier = {
    ...(typeof traceparent === 'string' ? { traceparent } : {}),
    ...(typeof tracestate === 'string' ? { tracestate } : {}),
  }
  const parent = propagation.extract(context.active(), carrier)
  const span = tracer().startSpan(
    'request',
    { kind: SpanKind.SERVER, attributes: { ...facts } },
    parent,
  )
  return {
    traceId: span.spanContext().traceId,
    run: (work) => context.with(trace.setSpan(parent, span), work),
    end: ({ method, route = 'unknown', status }) => {
      span.updateName(`${method} ${route}`)
      span.setAttributes({
        'http.request.method': method,
        'http.route': route,
        'http.response.status_code': status,
      })
      if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
      span.end()
    },
  }
}

/** For the database client: a span of each statement that belongs to something that is traced. Its values stay out. */
export function traceStatement(event: LogEvent): void {
  const parent = trace.getActiveSpan()
  if (!isOn || parent === undefined || !parent.isRecording()) return
  // The same clock that Kysely measures with; the spans of a trace are put on it as well.
  const ended = performance.now()
  const span = tracer().startSpan(operationOf(event.query.sql), {
    kind: SpanKind.CLIENT,
    startTime: ended - event.queryDurationMillis,
    attributes: { 'db.system.name': 'postgresql', 'db.query.text': event.query.sql },
  })
  if (event.level === 'error') fail(span, event.error)
  span.end(ended)
}

/** `SELECT`, `INSERT` and the like: the name of a span has few values. */
function operationOf(statement: string): string {
  const [, word = ''] = /^\s*([a-z]{1,12})\b/i.exec(statement) ?? []
  return word === '' ? 'statement' : word.toUpperCase()
}

/** The name of the error and no more: its words may hold what does not belong in a trace. */
function fail(span: Span, error: unknown): void {
  const kind = error instanceof Error ? error.name : 'Error'
  span.setStatus({ code: SpanStatusCode.ERROR })
  span.setAttribute('error.type', kind)
}

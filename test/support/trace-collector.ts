import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface CollectedSpan {
  name: string
  traceId: string
  spanId: string
  parentSpanId: string | undefined
  attributes: Record<string, unknown>
}

interface OtlpValue {
  stringValue?: string
  intValue?: string | number
  boolValue?: boolean
}
interface OtlpSpan {
  name: string
  traceId: string
  spanId: string
  parentSpanId?: string
  attributes?: { key: string; value: OtlpValue }[]
}
interface OtlpBody {
  resourceSpans: { scopeSpans: { spans: OtlpSpan[] }[] }[]
}

/** Takes OTLP over HTTP as a collector would, and remembers what it got. */
export async function startCollector() {
  const spans: CollectedSpan[] = []
  const headers: (string | undefined)[] = []
  let text = ''
  const server = createServer((req, res) => {
    headers.push(req.headers['x-tenant']?.toString())
    let body = ''
    req.on('data', (chunk: Buffer) => (body += chunk.toString()))
    req.on('end', () => {
      text += body
      for (const { scopeSpans } of (JSON.parse(body) as OtlpBody).resourceSpans) {
        for (const span of scopeSpans.flatMap((one) => one.spans)) spans.push(read(span))
      }
      res.writeHead(200, { 'Content-Type': 'application/json' }).end('{}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    headers,
    text: () => text,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

function read({ name, traceId, spanId, parentSpanId, attributes = [] }: OtlpSpan): CollectedSpan {
  return {
    name,
    traceId,
    spanId,
    parentSpanId: parentSpanId === '' ? undefined : parentSpanId,
    attributes: Object.fromEntries(
      attributes.map(({ key, value }) => [
        key,
        value.stringValue ?? value.boolValue ?? Number(value.intValue),
      ]),
    ),
  }
}

import { subscribe } from 'node:diagnostics_channel'
import type { ClientRequest, IncomingMessage } from 'node:http'

import { afterEach } from 'vitest'

import type { Answer } from './answers.ts'

/*
 * A setup file: whatever a test asks the interface of operators, by `fetch` or by the command line, is held against the OpenAPI document (answers.ts), and
 * the test fails that was answered something else. It only listens: nothing about a request or an answer changes.
 */

const prefix = '/api/v1/'
const maxBytes = 4 * 1024 * 1024
const maxAnswers = 20_000

let answers: Answer[] = []
/** Bodies of `fetch` that are still being read. */
let reading: Promise<void>[] = []

function note(answer: Answer): void {
  if (answers.length < maxAnswers) answers.push(answer)
}

subscribe('http.client.response.finish', (message) => {
  const { request, response } = message as { request: ClientRequest; response: IncomingMessage }
  if (!request.path.startsWith(prefix)) return
  const chunks: Buffer[] = []
  let size = 0
  const push = response.push.bind(response)
  response.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (Buffer.isBuffer(chunk)) {
      size += chunk.length
      if (size <= maxBytes) chunks.push(chunk)
    }
    // One that was broken off by the test says nothing.
    const length = Number(response.headers['content-length'] ?? size)
    if (chunk === null && size <= maxBytes && response.complete && length === size) {
      note({
        method: request.method,
        path: request.path,
        status: response.statusCode ?? 0,
        headers: new Headers(
          Object.entries(response.headers).map(([name, value]) => [name, String(value)]),
        ),
        text: Buffer.concat(chunks).toString('utf8'),
      })
    }
    return push(chunk, encoding)
  }
})

const ask = globalThis.fetch
globalThis.fetch = async (input, init) => {
  const response = await ask(input, init)
  const url = URL.parse(response.url)
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true
  const isLong = Number(response.headers.get('content-length') ?? 0) > maxBytes
  if (!url?.pathname.startsWith(prefix) || isStream || isLong) return response
  const method = init?.method ?? (input instanceof Request ? input.method : 'GET')
  const read = async () => {
    const text = await copy.text()
    const { status, headers } = response
    note({ method: method.toUpperCase(), path: url.pathname, status, headers, text })
  }
  const copy = response.clone()
  // One that breaks off is for the test to notice.
  reading.push(read().catch(() => undefined))
  return response
}

afterEach(async () => {
  await Promise.all(reading)
  const seen = answers
  reading = []
  answers = []
  if (seen.length === 0) return
  const { wrongAnswer } = await import('./answers.ts')
  const wrong = new Set(seen.flatMap((answer) => wrongAnswer(answer) ?? []))
  if (wrong.size === 0) return
  throw new Error(
    `${[...wrong].slice(0, 5).join('\n')}\nSay so in the route (\`refuses\`, \`response\`), or answer something else.`,
  )
})

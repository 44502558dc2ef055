import { readFile } from 'node:fs/promises'
import https from 'node:https'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import type { RunningServer } from './server.ts'

export interface Probed {
  status: number
  body: unknown
}

/** Calls the operators' listener of a running server, with its administrator's key. */
export async function probe(
  server: RunningServer,
  path: string,
  { method = 'GET', body }: { method?: string; body?: unknown } = {},
): Promise<Probed> {
  const ca = await readFile(server.ca)
  // Metrics have a token that needs no database.
  const key =
    path === '/metrics'
      ? (await readFile(join(server.dataDir, 'metrics-token'), 'utf8')).trim()
      : await server.apiKey()
  const { promise, resolve, reject } = Promise.withResolvers<Probed>()
  const isBytes = Buffer.isBuffer(body)
  const sent = body === undefined || isBytes ? body : Buffer.from(JSON.stringify(body))
  const request = https.request(
    { host: 'localhost', port: server.ports.api, path, method, ca, agent: false },
    (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.once('error', reject)
      response.once('end', () => {
        const isJson = response.headers['content-type']?.includes('json')
        resolve({ status: response.statusCode ?? 0, body: isJson ? JSON.parse(text) : text })
      })
    },
  )
  request.once('error', reject)
  request.setHeader('Authorization', `Bearer ${key}`)
  if (sent !== undefined) {
    request.setHeader('Content-Type', isBytes ? 'application/octet-stream' : 'application/json')
    request.setHeader('Content-Length', sent.length)
  }
  request.end(sent)
  return await promise
}

/** Asks again until the answer is as wanted; for at most a minute and a half. */
export async function until<T>(ask: () => Promise<T>, isIt: (answer: T) => boolean): Promise<T> {
  const end = Date.now() + 90_000
  for (;;) {
    const answer = await ask()
    if (isIt(answer)) return answer
    if (Date.now() > end) throw new Error(`it stayed ${JSON.stringify(answer).slice(0, 2_000)}`)
    await sleep(100)
  }
}

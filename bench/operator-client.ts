import { readFile } from 'node:fs/promises'
import https from 'node:https'

import type { RunningServer } from '../test/support/server.ts'

/** An operator whose connection to the API stands: what is measured is not a handshake. */
export class OperatorClient implements Disposable {
  readonly #agent: https.Agent
  readonly #port: number
  readonly #key: string

  private constructor(port: number, key: string, ca: string) {
    this.#agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca })
    this.#port = port
    this.#key = key
  }

  static async of(server: RunningServer): Promise<OperatorClient> {
    const ca = await readFile(server.ca, 'utf8')
    return new OperatorClient(server.ports.api, await server.apiKey(), ca)
  }

  /** The status of the answer, whose body is read and thrown away. A text is sent as CSV. */
  async ask(path: string, body?: object | string): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    const sent = https.request(
      {
        agent: this.#agent,
        host: 'localhost',
        port: this.#port,
        path,
        method: body ? 'POST' : 'GET',
        headers: {
          authorization: `Bearer ${this.#key}`,
          ...(body && {
            'content-type': typeof body === 'string' ? 'text/csv' : 'application/json',
          }),
        },
      },
      (answer) => {
        answer.resume()
        answer.once('error', reject)
        answer.once('end', () => resolve(answer.statusCode ?? 0))
      },
    )
    sent.once('error', reject)
    sent.end(typeof body === 'object' ? JSON.stringify(body) : body)
    return await promise
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

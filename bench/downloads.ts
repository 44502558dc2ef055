import { Agent, request } from 'node:https'
import type { SecureContext } from 'node:tls'

class Idle extends Error {}

/** One device that downloads, with a connection that it keeps. */
export class Downloader {
  readonly #agent: Agent
  readonly #port: number

  constructor(port: number, context: SecureContext) {
    this.#port = port
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1, secureContext: context })
  }

  /** Bytes that came. A connection that was closed while nothing went over it is made again. */
  async range(path: string, first: number, last: number): Promise<number> {
    try {
      return await this.#ask(path, first, last)
    } catch (error) {
      if (!(error instanceof Idle)) throw error
      return await this.#ask(path, first, last)
    }
  }

  async #ask(path: string, first: number, last: number): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    const sent = request({
      agent: this.#agent,
      host: 'localhost',
      port: this.#port,
      path,
      headers: { range: `bytes=${first}-${last}` },
    })
    sent.on('error', (error) => reject(sent.reusedSocket ? new Idle() : error))
    sent.on('response', (response) => {
      let bytes = 0
      response.on('data', (piece: Buffer) => (bytes += piece.length))
      response.on('error', reject)
      response.on('end', () => {
        if (response.statusCode === 206) resolve(bytes)
        else reject(new Error(`The answer is ${response.statusCode}`))
      })
    })
    sent.end()
    return await promise
  }

  /** The file in ranges of a megabyte. */
  async file(path: string, length: number): Promise<number> {
    let bytes = 0
    for (let at = 0; at < length; at += 1_048_576) {
      bytes += await this.range(path, at, Math.min(at + 1_048_576, length) - 1)
    }
    return bytes
  }

  close(): void {
    this.#agent.destroy()
  }
}

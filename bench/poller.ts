import { once } from 'node:events'
import { connect, type SecureContext, type TLSSocket } from 'node:tls'

/** A device that polls over one connection that it keeps, with as little work of its own as can be. */
export class Poller {
  readonly #port: number
  readonly #context: SecureContext
  readonly #request: Buffer
  #socket: TLSSocket | undefined
  #text = ''
  #answer: PromiseWithResolvers<string> | undefined

  constructor(port: number, context: SecureContext, path: string) {
    this.#port = port
    this.#context = context
    const lines = [`GET ${path} HTTP/1.1`, 'Host: localhost', 'User-Agent: libcurl-agent/1.0']
    this.#request = Buffer.from(`${lines.join('\r\n')}\r\nAccept: application/json\r\n\r\n`)
  }

  async open(): Promise<void> {
    if (this.#socket?.writable === true) return
    const socket = connect({
      port: this.#port,
      host: '127.0.0.1',
      servername: 'localhost',
      secureContext: this.#context,
    })
    socket.on('error', (error) => this.#answer?.reject(error))
    socket.on('close', () => this.#answer?.reject(new Error('The connection ended')))
    socket.on('data', (data: Buffer) => this.#take(data))
    await once(socket, 'secureConnect')
    this.#text = ''
    this.#socket = socket
  }

  /** The body of the answer. Throws on any status but 200. */
  async poll(): Promise<string> {
    await this.open()
    const answer = Promise.withResolvers<string>()
    this.#answer = answer
    this.#socket?.write(this.#request)
    return await answer.promise
  }

  #take(data: Buffer): void {
    this.#text += data.toString('latin1')
    const end = this.#text.indexOf('\r\n\r\n')
    if (end < 0) return
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#text)?.[1])
    if (this.#text.length < end + 4 + length) return
    const body = this.#text.slice(end + 4)
    const isGood = this.#text.startsWith('HTTP/1.1 200')
    const error = new Error(this.#text.slice(0, 200))
    this.#text = ''
    if (isGood) this.#answer?.resolve(body)
    else this.#answer?.reject(error)
  }

  close(): void {
    this.#answer = undefined
    this.#socket?.destroy()
  }
}

/** Every device polls so often, `parallel` of them at a time. Returns how long each poll took, in milliseconds. */
export async function polls(
  pollers: readonly Poller[],
  { each, parallel }: { each: number; parallel: number },
): Promise<number[]> {
  const took: number[] = []
  const work = async (lane: number) => {
    const own = pollers.filter((_, index) => index % parallel === lane)
    for (let turn = 0; turn < each; turn++) {
      for (const poller of own) {
        const began = performance.now()
        await poller.poll()
        took.push(performance.now() - began)
      }
    }
  }
  await Promise.all(Array.from({ length: parallel }, (_, lane) => work(lane)))
  return took
}

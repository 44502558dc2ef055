import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

import type { Answer, Message, OrderName, Orders } from './orders.ts'

const script = fileURLToPath(new URL('process.ts', import.meta.url))

/**
 * A load generator in a process of its own: raw TLS sockets with packets made by hand, on loopback addresses 127.0.1.1 to 127.0.50.1. See
 * `orders.ts` for what it can be told.
 *
 * @example
 *   await using load = new Load()
 *   await load.order('use', { credentials, ca })
 *   await load.order('hold', { port, devices: 500, parallel: 16 })
 */
export class Load implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>()
  #nextId = 0
  #ended = false

  constructor() {
    this.#child = fork(script, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
    })
    this.#child.on('message', (answer) => this.#take(answer as Answer))
    this.#child.once('exit', (code) => this.#end(code))
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Throws when the order is wrong or the process has ended; that a server refuses is part of the answer. */
  async order<Name extends OrderName>(
    name: Name,
    order: Orders[Name][0],
  ): Promise<Orders[Name][1]> {
    if (this.#ended) throw new Error('The load process has ended')
    const id = this.#nextId++
    const answer = Promise.withResolvers<unknown>()
    this.#waiting.set(id, answer)
    this.#child.send({ id, name, order } satisfies Message)
    return (await answer.promise) as Orders[Name][1]
  }

  #take(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id)
    this.#waiting.delete(answer.id)
    if ('error' in answer) waiting?.reject(new Error(answer.error))
    else waiting?.resolve(answer.result)
  }

  #end(code: number | null): void {
    this.#ended = true
    for (const waiting of this.#waiting.values()) {
      waiting.reject(new Error(`The load process ended with ${code}`))
    }
    this.#waiting.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return
    const exit = once(this.#child, 'exit')
    this.#child.disconnect()
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 10_000)
    await exit
    clearTimeout(late)
  }
}

import type { Context } from '../context.ts'
import { bundlesFor } from '../director/service.ts'
import { meetDevices } from '../rollouts/meet.ts'
import { modelledAmong } from './hello-store.ts'

const waitMs = 1_500
const tickMs = 250
const maxWaiting = 100_000

/**
 * On connect a device is told what it should be (architecture.md §9). Most devices ask by `hello` at once and get the answer to
 * that; one that only listens, and said hello in an earlier connection, is sent its bundle after a moment. Costs nothing
 * for a device that says hello.
 */
export class Greeting implements Disposable {
  readonly #ctx: Context
  /** Device → when it is due, in the order of connecting. */
  readonly #waiting = new Map<string, number>()
  /** Those that are being told. */
  readonly #telling = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #busy = false

  constructor(ctx: Context) {
    this.#ctx = ctx
  }

  connected(deviceId: string): void {
    if (this.#waiting.size >= maxWaiting) return
    this.#waiting.delete(deviceId)
    this.#waiting.set(deviceId, performance.now() + waitMs)
    this.#timer ??= setInterval(() => void this.#tick(), tickMs).unref()
  }

  saidHello(deviceIds: readonly string[]): void {
    for (const deviceId of deviceIds) {
      this.#waiting.delete(deviceId)
      this.#telling.delete(deviceId)
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#waiting.clear()
  }

  async #tick(): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    try {
      const now = performance.now()
      const due: string[] = []
      for (const [deviceId, at] of this.#waiting) {
        if (at > now || due.length === 500) break
        due.push(deviceId)
        this.#waiting.delete(deviceId)
        this.#telling.add(deviceId)
      }
      if (due.length > 0) await this.#greet(due)
    } catch (error) {
      this.#ctx.log.warn(
        { err: error },
        'devices that only listen were not told; they are when they connect again',
      )
    } finally {
      this.#busy = false
      this.#telling.clear()
      if (this.#waiting.size === 0) {
        clearInterval(this.#timer)
        this.#timer = undefined
      }
    }
  }

  async #greet(deviceIds: readonly string[]): Promise<void> {
    const ctx = this.#ctx
    const known = await modelledAmong(
      ctx.db,
      deviceIds.filter((deviceId) => ctx.transport.isConnected(deviceId)),
    )
    if (known.length === 0) return
    await meetDevices(ctx, known)
    const bundles = await bundlesFor(
      ctx,
      known.map((deviceId) => ({ deviceId, have: {} })),
    )
    // Who asked meanwhile gets the answer to that, and would not know what to make of another.
    for (const [deviceId, bundle] of bundles)
      if (this.#telling.has(deviceId)) await ctx.transport.send(deviceId, 'bundle', bundle)
  }
}

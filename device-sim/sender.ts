import type { Report } from '../server/protocol/messages.ts'
import type { Connection } from './connection.ts'
import { messageOf } from './errors.ts'
import type { Log } from './update/device.ts'
import type { Updater } from './update/updater.ts'

export interface SenderDeps {
  updater: Updater
  connection: Connection
  /** What a report becomes when it is sent: signed, if it ends a deployment. */
  prove: (report: Report, counter: number) => Promise<Report>
  log: Log
}

/**
 * Tells the server what waits in the device's queue, one at a time and in order. An entry leaves the queue when it is
 * acknowledged, so it may arrive twice and never not at all.
 */
export class Sender {
  readonly #deps: SenderDeps
  #isOpen = false
  #isSending = false
  onSent: (message: { leaf: string; body: unknown }) => void = () => {}

  constructor(deps: SenderDeps) {
    this.#deps = deps
  }

  /** After `hello` of this connection, which tells the server what the reports are about. */
  open(): void {
    this.#isOpen = true
    this.kick()
  }

  close(): void {
    this.#isOpen = false
  }

  kick(): void {
    if (!this.#isOpen || this.#isSending) return
    this.#isSending = true
    void this.#drain()
  }

  async #drain(): Promise<void> {
    const { updater, connection, log } = this.#deps
    try {
      for (let entry = updater.next(); entry && this.#isOpen; entry = updater.next()) {
        const body = await this.#bodyOf(entry)
        await connection.publish(entry.leaf, body)
        await updater.acknowledge(entry)
        this.onSent({ leaf: entry.leaf, body: entry.body })
      }
    } catch (error) {
      // It goes on with the next connection.
      log('sending stopped', { error: messageOf(error) })
    } finally {
      // In the same breath as the last look at the queue, or a kick in between would be lost.
      this.#isSending = false
    }
  }

  async #bodyOf(entry: NonNullable<ReturnType<Updater['next']>>): Promise<unknown> {
    if (entry.leaf !== 'report' || entry.seq === undefined) return entry.body
    return await this.#deps.prove(entry.body, entry.seq)
  }
}

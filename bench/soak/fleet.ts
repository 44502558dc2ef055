import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

import type { FleetOrder, FleetReport } from './fleet-process.ts'

const script = fileURLToPath(new URL('fleet-process.ts', import.meta.url))
/** So many agents share a process: what they cost is not the server's. */
const perProcess = 500

/** The fleet of a soak, in processes of 500 devices. */
export class SoakFleet implements AsyncDisposable {
  readonly #children: ChildProcess[] = []
  readonly #reports: FleetReport[] = []
  #ended = 0
  #stopping = false

  constructor(count: number, order: Omit<FleetOrder, 'count' | 'serialPrefix'>) {
    const parts = Math.ceil(count / perProcess)
    for (let part = 0; part < parts; part++) {
      const child = fork(script, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
      child.on('message', (report) => (this.#reports[part] = report as FleetReport))
      child.once('exit', () => this.#stopping || this.#ended++)
      const share = Math.floor(count / parts) + (part < count % parts ? 1 : 0)
      const churnPerMinute = order.churnPerMinute / parts
      child.send({
        ...order,
        dir: `${order.dir}/${part}`,
        count: share,
        serialPrefix: `SOAK-${part}-`,
        churnPerMinute,
      } satisfies FleetOrder)
      this.#children.push(child)
    }
  }

  /** All parts together. Throws when a part has died: its devices are not counted as missing. */
  now(): FleetReport {
    if (this.#ended > 0) throw new Error('A process with devices of the soak ended')
    const all: FleetReport = {
      up: this.#reports.length === this.#children.length && this.#reports.every(({ up }) => up),
      connected: 0,
      renewed: 0,
      restarts: 0,
      succeeded: {},
      trouble: {},
    }
    for (const part of this.#reports) {
      all.connected += part.connected
      all.renewed += part.renewed
      all.restarts += part.restarts
      for (const name of ['succeeded', 'trouble'] as const)
        for (const [key, n] of Object.entries(part[name]))
          all[name][key] = (all[name][key] ?? 0) + n
    }
    return all
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true
    const running = this.#children.filter(
      (child) => child.exitCode === null && child.signalCode === null,
    )
    const exits = running.map((child) => once(child, 'exit'))
    for (const child of running) child.send('stop', () => {})
    const late = setTimeout(() => running.forEach((child) => child.kill('SIGKILL')), 20_000)
    await Promise.all(exits)
    clearTimeout(late)
  }
}

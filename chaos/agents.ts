import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { fileURLToPath } from 'node:url'

import type { AgentsOrder, AgentsWord, AgentView } from './agents-process.ts'

const script = fileURLToPath(new URL('agents-process.ts', import.meta.url))

export interface Acknowledged {
  deviceId: string
  deploymentId: string
  state: string
}

/** Some devices in a process: powered up, killed, powered up again on the same disks. */
export class AgentsPart implements AsyncDisposable {
  readonly #order: AgentsOrder
  readonly #logFile: string
  readonly acknowledged: Acknowledged[] = []
  isUp = false
  views: AgentView[] = []
  #child: ChildProcess | undefined

  constructor(order: AgentsOrder, logFile: string) {
    this.#order = order
    this.#logFile = logFile
  }

  get count(): number {
    return this.#order.count
  }

  start(): void {
    this.isUp = false
    this.views = []
    const child = fork(script, {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      execArgv: ['--disable-warning=ExperimentalWarning'],
    })
    this.#child = child
    const log = createWriteStream(this.#logFile, { flags: 'a' })
    child.stdout?.pipe(log, { end: false })
    child.stderr?.pipe(log, { end: false })
    child.on('message', (message) => this.#hear(message as AgentsWord))
    child.send(this.#order)
  }

  #hear(word: AgentsWord): void {
    switch (word.word) {
      case 'up':
        this.isUp = true
        break
      case 'acknowledged': {
        const { deviceId, deploymentId, state } = word
        this.acknowledged.push({ deviceId, deploymentId, state })
        break
      }
      case 'status':
        this.views = word.agents
        break
      default:
        throw new Error('not a word of the agents')
    }
  }

  /** As a power cut: nothing is written, nobody is told. */
  async kill(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }
}

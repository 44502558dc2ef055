import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'

import { vi } from 'vitest'

import type { S3Settings } from '../../server/s3-config.ts'

/** The server of the Python package `moto[server]`; FLEETSEAL_TEST_S3_SERVER names it where it is not on the path. */
const program = process.env['FLEETSEAL_TEST_S3_SERVER'] ?? 'moto_server'

export const hasS3Server = spawnSync(program, ['--help'], { timeout: 60_000 }).status === 0

/** A store that speaks S3, in a process of its own on a port of this machine, and empty. */
export class S3Server implements AsyncDisposable {
  readonly url: string
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, url: string) {
    this.#child = child
    this.url = url
  }

  static async start(): Promise<S3Server> {
    const child = spawn(program, ['-H', '127.0.0.1', '-p', '0'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(0, 10_000)
    })
    const url = await vi.waitFor(
      () => {
        const [found] = /http:\/\/127\.0\.0\.1:\d+/.exec(said) ?? []
        if (found === undefined) throw new Error(`no S3 server: ${said}`)
        return found
      },
      { timeout: 120_000, interval: 100 },
    )
    return new S3Server(child, url)
  }

  settings(change: Partial<S3Settings> = {}): S3Settings {
    return {
      endpoint: this.url,
      bucket: 'artifacts',
      region: 'us-east-1',
      accessKeyId: 'test-key',
      secretAccessKey: 'test-secret',
      prefix: '',
      pathStyle: true,
      ...change,
    }
  }

  async makeBucket(name = 'artifacts'): Promise<void> {
    const { status } = await fetch(`${this.url}/${name}`, { method: 'PUT' })
    if (status !== 200) throw new Error(`no bucket: ${status}`)
  }

  /** SIGSTOP: it takes connections, and answers nothing. SIGCONT: it goes on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child.kill(signal)
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await gone
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

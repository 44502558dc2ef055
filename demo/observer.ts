import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import type { ApiClient } from '../cli/api.ts'
import { createClient } from '../cli/client.ts'
import { exitCodes, Failure } from '../cli/failure.ts'
import { Page } from '../cli/page.ts'
import { CertificateView } from '../server/certificates/wire.ts'
import { DeploymentHistoryView, DeploymentView } from '../server/deployments/wire.ts'
import { RolloutView } from '../server/rollouts/wire.ts'
import type { ServerProcess } from './server-process.ts'

/** Looks at the server's side of the story over REST, without a word on the screen. */
export class Observer implements Disposable {
  readonly #api: ApiClient

  private constructor(api: ApiClient) {
    this.#api = api
  }

  static async create(server: ServerProcess): Promise<Observer> {
    const read = async (...path: string[]) => await readFile(join(server.dataDir, ...path), 'utf8')
    return new Observer(
      createClient({
        server: `https://localhost:${server.ports.api}`,
        ca: await read('ca', 'root.pem'),
        apiKey: (await read('admin-api-key')).trim(),
      }),
    )
  }

  /** Undefined while the server is away. */
  async rollout(id: string): Promise<RolloutView | undefined> {
    return await reachable(this.#api.get(RolloutView, `/rollouts/${id}`))
  }

  async deployments(rolloutId: string): Promise<DeploymentView[] | undefined> {
    return await reachable(
      all(this.#api.list(Page(DeploymentView), `/rollouts/${rolloutId}/deployments`)),
    )
  }

  async deployment(id: string): Promise<DeploymentHistoryView> {
    return await this.#api.get(DeploymentHistoryView, `/deployments/${id}`)
  }

  async certificates(deviceId: string): Promise<CertificateView[]> {
    return await all(this.#api.list(Page(CertificateView), `/devices/${deviceId}/certificates`))
  }

  [Symbol.dispose](): void {
    this.#api[Symbol.dispose]()
  }
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}

async function reachable<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof Failure && error.exitCode === exitCodes.unreachable) return undefined
    throw error
  }
}

import { messageOf } from '../errors.ts'
import type { Outcome } from './download.ts'
import type { Wanted } from './transfer.ts'

export type Fetch = (input: {
  wanted: Wanted
  onProgress: (percent: number) => void
  signal: AbortSignal
}) => Promise<Outcome>

interface Job {
  deploymentId: string
  /** One after the other; the outcome is `whole` when all are. */
  wanted: readonly Wanted[]
  onProgress: (percent: number) => void
  /** Not called for a job that was abandoned. The job counts as running until this resolves or `release` is called. */
  onOutcome: (outcome: Outcome) => Promise<void>
}

/** At most one download, beside the steps, that can be taken back at any time. */
export class DownloadJob {
  readonly #fetch: Fetch
  #current: { deploymentId: string; controller: AbortController } | undefined
  /** Two that write into one file would spoil it: the next one begins when the last one has let go. */
  #ended: Promise<void> = Promise.resolve()

  constructor(fetch: Fetch) {
    this.#fetch = fetch
  }

  get deploymentId(): string | undefined {
    return this.#current?.deploymentId
  }

  start({ deploymentId, wanted, onProgress, onOutcome }: Job): void {
    this.abandon()
    const controller = new AbortController()
    const { signal } = controller
    this.#current = { deploymentId, controller }
    this.#ended = this.#ended
      .then(() => this.#fetchAll(wanted, { onProgress, signal }))
      .catch((error: unknown): Outcome => {
        return { done: 'failed', final: false, code: 'internal', detail: messageOf(error) }
      })
      .then(async (outcome) => {
        if (!signal.aborted) await onOutcome(outcome)
        if (this.#current?.controller === controller) this.#current = undefined
      })
  }

  async #fetchAll(
    wanted: readonly Wanted[],
    { onProgress, signal }: { onProgress: (percent: number) => void; signal: AbortSignal },
  ): Promise<Outcome> {
    const total = wanted.reduce((sum, { length }) => sum + length, 0)
    let before = 0
    const notes: string[] = []
    for (const one of wanted) {
      const outcome = await this.#fetch({
        wanted: one,
        onProgress: (percent) =>
          onProgress(Math.floor((before * 100 + one.length * percent) / Math.max(total, 1))),
        signal,
      })
      if (outcome.done !== 'whole') return outcome
      notes.push(...(outcome.notes ?? []))
      before += one.length
    }
    return { done: 'whole', notes }
  }

  /** Its outcome is stored: another download may begin. */
  release(): void {
    this.#current = undefined
  }

  abandon(): void {
    this.#current?.controller.abort()
    this.#current = undefined
  }

  async stop(): Promise<void> {
    this.abandon()
    // An outcome that is being stored waits for its turn, and the turns for nobody.
    await this.#ended
  }
}

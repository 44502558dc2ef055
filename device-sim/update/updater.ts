import { EventEmitter } from 'node:events'

import type { DeploymentState } from '../../server/protocol/deployment.ts'
import type { Report } from '../../server/protocol/messages.ts'
import { messageOf } from '../errors.ts'
import { withDeadline } from './choice.ts'
import { type Conditions, readConditions } from './conditions.ts'
import { Device, type DeviceDeps } from './device.ts'
import { DownloadJob, type Fetch } from './download-job.ts'
import type { Outcome } from './download.ts'
import { downloaded } from './downloaded.ts'
import { wantedOf } from './forms.ts'
import { spareSlot, succeeded } from './install.ts'
import { adopt, isOpen, refused } from './intake.ts'
import { acknowledged, type Entry, offerOf, partsOf, type Task, withOffer } from './journal.ts'
import { nextStep, type Situation, type Step } from './machine.ts'
import { applyChoice, type OwnerRequest } from './owner.ts'
import { perform } from './perform.ts'
import { moved, reportOf } from './report.ts'
import { isSettings } from './settings.ts'
import { installMsOf, situationOf } from './situation.ts'
import { Turns } from './turns.ts'
import { type RefusedBundle, takeBundle } from './verify.ts'

export interface UpdaterDeps extends DeviceDeps {
  fetch: Fetch
  isConnected: () => boolean
  /** The network says that the server itself is away: an uncommitted image is then given more time. */
  isServerDown: () => boolean
}

export interface UpdaterEvents {
  state: [{ deploymentId: string; state: DeploymentState; version: string }]
  progress: [{ deploymentId: string; percent: number }]
  refused: [RefusedBundle]
  outcome: [string]
  /** Something waits in the queue for the server. */
  queue: []
  reboot: []
  /** A task ended and the server knows, or roots came ahead of the rest: there may be more. */
  ended: []
}

const maxWaitMs = 60_000
const faultPauseMs = 10_000
const flushMs = 3_000

/**
 * Carries one device through its updates: takes what arrives, one thing after the other, and then does the next step until
 * there is none. All it needs to go on after a power cut is on the disk.
 */
export class Updater extends EventEmitter<UpdaterEvents> {
  readonly device: Device
  readonly #deps: UpdaterDeps
  readonly #turns: Turns
  #timer: NodeJS.Timeout | undefined
  readonly #download: DownloadJob
  #progress: Report | undefined
  #lastRefusal: { key: string; at: number } | undefined
  #flushUntilMs: number | undefined
  #pausedUntilMs = 0
  #isStopped = false

  private constructor(device: Device, deps: UpdaterDeps) {
    super()
    this.device = device
    this.#deps = deps
    this.#download = new DownloadJob(deps.fetch)
    this.#turns = new Turns({
      step: () => this.#step(),
      onFault: (error) => this.#fault(error),
    })
  }

  /** Boots the device. Nothing moves before `run`. */
  static async open(deps: UpdaterDeps): Promise<Updater> {
    return new Updater(await Device.open(deps), deps)
  }

  /** Does what is to be done now; resolves when nothing is left but waiting. */
  async run(): Promise<void> {
    await this.#turns.run()
  }

  async takeBundle(
    bytes: Buffer,
    nonces: readonly string[],
    past: readonly string[] = [],
  ): Promise<string | undefined> {
    return await this.#turns.take(async () => {
      const verdict = await takeBundle(this.device, bytes, { nonces, past })
      if (verdict === 'late') {
        this.device.log('an answer came too late', {})
        return undefined
      }
      if (verdict.ok && !verdict.verified) {
        this.emit('ended')
      } else if (verdict.ok) {
        await adopt(this.device, verdict.verified)
      } else {
        this.device.log('update refused', { code: verdict.code, detail: verdict.detail })
        await this.#noteRefusal(verdict)
        this.emit('refused', verdict)
      }
      return verdict.nonce
    })
  }

  /** The server saw the new image connect (updates.md 7.1, `testing` to `succeeded`). */
  async takeCommit(deploymentId: string, commitNonce: string): Promise<void> {
    await this.#turns.take(async () => {
      const { journal, behavior } = this.device
      const { task } = journal
      if (task?.deploymentId !== deploymentId || behavior.ignoreCommit === true) return
      if (task.state === 'testing') {
        await this.device.store({ ...journal, task: { ...task, commitNonce } })
      } else if (task.state === 'succeeded' && !hasReport(journal.queue, deploymentId)) {
        // The server did not get it, or not with this nonce.
        const again = { ...task, commitNonce }
        await this.device.store(succeeded(this.device, again, task.target.sha256))
      }
    })
  }

  /** The owner's word. Returns what came of it, in plain words. */
  async takeChoice(request: OwnerRequest): Promise<{ outcome: string; accepted: boolean }> {
    return await this.#turns.take(async () => {
      const { managed, noticeMs } = this.device.config
      const installMs = installMsOf(this.device)
      const facts = { managed, noticeMs, installMs, now: this.device.now() }
      const { journal, outcome, accepted } = applyChoice(this.device.journal, facts, request)
      await this.device.store(journal)
      this.emit('outcome', outcome)
      return { outcome, accepted }
    })
  }

  /** What the server is to be told next: the oldest entry of the queue, or else how far a download is. */
  next(): Entry | { leaf: 'report'; seq: undefined; body: Report } | undefined {
    const [first] = this.device.journal.queue
    if (first) return first
    const body = this.#progress
    return body && { leaf: 'report', seq: undefined, body }
  }

  /** The server has stored it. */
  async acknowledge(entry: { seq: number | undefined; body: unknown }): Promise<void> {
    if (entry.seq === undefined) {
      if (this.#progress === entry.body) this.#progress = undefined
      return
    }
    const { seq } = entry
    await this.#turns.take(async () => {
      const { journal } = this.device
      const told = journal.queue.find((one) => one.seq === seq)
      const { task } = journal
      let next = acknowledged(journal, seq)
      const isOffer = told?.leaf === 'report' && told.body.state === 'offered'
      if (task && isOffer && told.body.deploymentId === task.deploymentId) {
        const offer = offerOf(next, task.target)
        // updates.md 7.2: the deadline counts from the first offer the server acknowledged.
        const counted = { ...offer, firstAt: offer.firstAt ?? this.device.now() }
        next = withOffer(next, withDeadline(counted, task.policy))
      }
      await this.device.store(next)
      if (task && !isOpen(task) && told?.leaf === 'report' && told.body.state === task.state) {
        this.emit('ended')
      }
    })
  }

  /** Ends all work; what is on the disk is enough to go on. */
  async stop(): Promise<void> {
    this.#isStopped = true
    clearTimeout(this.#timer)
    await this.#download.stop()
    await this.#turns.stop()
  }

  /** Said once a minute for each reason: whoever sends rubbish does not get to fill the queue. */
  async #noteRefusal(refusal: RefusedBundle): Promise<void> {
    const { journal } = this.device
    const now = this.device.now()
    const key = `${refusal.code} ${refusal.deploymentId ?? ''}`
    if (this.#lastRefusal?.key === key && now - this.#lastRefusal.at < maxWaitMs) return
    this.#lastRefusal = { key, at: now }
    await this.device.store(refused(journal, refusal, now))
  }

  async #step(): Promise<boolean> {
    if (this.#isStopped) return false
    const pauseMs = this.#pausedUntilMs - performance.now()
    if (pauseMs > 0) {
      // A timer may be early, on a busy machine by much: without another one nothing would ever be done again.
      this.#wakeIn(Math.ceil(pauseMs))
      return false
    }
    this.#abandonDownload()
    const step = nextStep(this.#situation(await readConditions(this.device.disk)))
    if (step.do === 'wait') {
      this.#arm(step)
    } else {
      const before = this.device.journal.task?.state
      await perform(this.device, step, {
        startDownload: (task) => this.#startDownload(task),
        reboot: () => this.#reboot(),
        tell: (text) => this.emit('outcome', text),
      })
      this.#tell(before)
    }
    if (this.next()) this.emit('queue')
    return step.do !== 'wait'
  }

  #tell(before: DeploymentState | undefined): void {
    const { task } = this.device.journal
    if (!task || task.state === before) return
    const { deploymentId, state, target } = task
    this.emit('state', { deploymentId, state, version: target.version })
  }

  #situation(conditions: Conditions): Situation {
    return situationOf(this.device, {
      conditions,
      connected: this.#deps.isConnected(),
      downloading: this.#download.deploymentId !== undefined,
      flushing: this.#isFlushing(),
      isServerDown: this.#deps.isServerDown(),
    })
  }

  /** Before a restart that was wished for, the server hears what it can hear soon. */
  #isFlushing(): boolean {
    const { task, queue } = this.device.journal
    if (task?.state !== 'rebooting' || queue.length === 0 || !this.#deps.isConnected()) {
      this.#flushUntilMs = undefined
      return false
    }
    this.#flushUntilMs ??= performance.now() + flushMs
    return performance.now() < this.#flushUntilMs
  }

  /** Settings need no restart, only a connection that was made with them. */
  async #reboot(): Promise<void> {
    const { task } = this.device.journal
    if (task && isSettings(task.target.component)) {
      await this.device.apply()
      this.emit('reboot')
      return
    }
    const { bootMs } = this.device.behavior
    if (bootMs !== undefined) await new Promise((resolve) => setTimeout(resolve, bootMs))
    await this.device.boot()
    this.emit('reboot')
  }

  async #startDownload(task: Task): Promise<void> {
    const { deploymentId } = task
    const { retryAt: _, ...rest } = task
    const { journal } = this.device
    if (task.state !== 'downloading') {
      const report = { state: 'downloading' as const, progress: 0, now: this.device.now() }
      await this.device.store(moved(journal, rest, report))
    }
    const wanted = partsOf(task).map((one) =>
      wantedOf(this.device, one, spareSlot(this.device, one)),
    )
    this.#download.start({
      deploymentId,
      wanted,
      onProgress: (percent) => this.#noteProgress(deploymentId, percent),
      onOutcome: (outcome) =>
        this.#takeDownload(deploymentId, outcome).catch((error: unknown) => this.#fault(error)),
    })
  }

  async #takeDownload(deploymentId: string, outcome: Outcome): Promise<void> {
    await this.#turns.take(async () => {
      const { journal } = this.device
      const { task } = journal
      this.#progress = undefined
      if (task?.deploymentId !== deploymentId || task.state !== 'downloading') return
      await this.device.store(downloaded(this.device, task, outcome))
      this.#download.release()
      this.#tell('downloading')
    })
  }

  #noteProgress(deploymentId: string, percent: number): void {
    const step = Math.floor(percent / 10) * 10
    this.emit('progress', { deploymentId, percent })
    if (this.#progress?.deploymentId === deploymentId && this.#progress.progress === step) return
    const report = { state: 'downloading' as const, progress: step, now: this.device.now() }
    this.#progress = reportOf(deploymentId, report)
    this.emit('queue')
  }

  /** A download of what is no longer wanted ends. */
  #abandonDownload(): void {
    const { task } = this.device.journal
    const { deploymentId } = this.#download
    if (deploymentId === undefined) return
    if (task?.deploymentId === deploymentId && task.state === 'downloading') return
    this.#download.abandon()
    this.#progress = undefined
  }

  #arm(step: Step): void {
    clearTimeout(this.#timer)
    const { task } = this.device.journal
    if (this.#isStopped || !task || !isOpen(task)) return
    const until = step.do === 'wait' ? step.until : undefined
    this.#wakeIn(Math.min(Math.max((until ?? Infinity) - this.device.now(), 20), maxWaitMs))
  }

  #wakeIn(delayMs: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#turns.run().catch((error: unknown) => this.#fault(error))
    }, delayMs)
  }

  /** A full disk or a fault of ours: said, and after a pause tried again. */
  #fault(error: unknown): void {
    if (this.#isStopped) return
    this.device.log('update step failed', { error: messageOf(error) })
    this.#pausedUntilMs = performance.now() + faultPauseMs
    this.#wakeIn(faultPauseMs)
  }
}

function hasReport(queue: readonly Entry[], deploymentId: string): boolean {
  return queue.some(({ leaf, body }) => leaf === 'report' && body.deploymentId === deploymentId)
}

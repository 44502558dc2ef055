import { fingerprint } from '../pki/x509/parse.ts'
import type { DeviceClock } from './clock.ts'
import type { Disk } from './disk.ts'
import { renewIdentity } from './enroll.ts'
import { DeviceError, messageOf } from './errors.ts'
import type { EstServer } from './est.ts'
import type { Identity } from './identity.ts'
import { loadPlan, planRenewal, retryDelayMs, type RenewalPlan, savePlan } from './renewal-plan.ts'
import type { Log } from './update/device.ts'

export interface RenewerDeps {
  disk: Disk
  clock: DeviceClock
  server: Omit<EstServer, 'client' | 'root'>
  identity: () => Identity
  onRenewed: (identity: Identity) => void
  log: Log
  random?: () => number
}

/** Timers follow a clock that may be set: the plan is looked at at least this often. */
const longestWaitMs = 3_600_000

/**
 * Renews the device's certificate when the server said to, and by its own judgement when the server says nothing. It goes on
 * after the certificate has ended: within the grace of its profile a device comes back by itself.
 */
export class Renewer {
  readonly #deps: RenewerDeps
  readonly #random: () => number
  #plan: RenewalPlan | undefined
  #timer: NodeJS.Timeout | undefined
  #isStarted = false
  #working: Promise<void> | undefined
  #failures = 0
  /** By the steady clock of the process; not before this after a failure. */
  #notBeforeMs = 0

  constructor(deps: RenewerDeps) {
    this.#deps = deps
    this.#random = deps.random ?? Math.random
  }

  async start(): Promise<void> {
    this.#plan = await loadPlan(this.#deps.disk)
    this.#isStarted = true
    await this.check()
  }

  async stop(): Promise<void> {
    this.#isStarted = false
    clearTimeout(this.#timer)
    await this.#working
  }

  /** RFC 3339; undefined before `start`. */
  get renewAt(): string | undefined {
    return this.#plan?.renewAt
  }

  /**
   * The server says when a certificate should be renewed. The same hint again changes nothing, or an overdue device would put
   * it off for ever; neither does one for a certificate that is gone.
   */
  async hint({ certificate, at }: { certificate: string; at: Date }): Promise<void> {
    if (!this.#isStarted || certificate !== this.#fingerprint()) return
    if (this.#plan?.hintAt === at.toISOString()) return
    await this.#replan(at)
    await this.check()
  }

  /** Renews if it is time. Never rejects: what fails is tried again. */
  async check(): Promise<void> {
    if (!this.#isStarted) return
    this.#working ??= this.#check().finally(() => {
      this.#working = undefined
      this.#schedule()
    })
    await this.#working
  }

  async #check(): Promise<void> {
    try {
      if (this.#plan?.fingerprint !== this.#fingerprint()) await this.#replan(undefined)
      if (this.#waitMs() > 0) return
      await this.#renew()
      this.#failures = 0
    } catch (error) {
      this.#failures += 1
      const delayMs = retryDelayMs(this.#deps.identity().leaf, {
        failures: this.#failures,
        askedMs: error instanceof DeviceError ? error.retryAfterMs : undefined,
        now: this.#deps.clock.now(),
        random: this.#random(),
      })
      this.#notBeforeMs = performance.now() + delayMs
      this.#deps.log('renewal failed', { error: messageOf(error), againInMs: Math.round(delayMs) })
    }
  }

  async #renew(): Promise<void> {
    const { disk, clock, server, identity, onRenewed, log } = this.#deps
    const { identity: next, renewAt } = await renewIdentity(disk, {
      identity: identity(),
      server,
      at: clock.now(),
    })
    onRenewed(next)
    await this.#replan(renewAt)
    log('certificate renewed', { until: next.leaf.notAfter.toISOString() })
  }

  async #replan(hintAt: Date | undefined): Promise<void> {
    const { disk, clock, identity } = this.#deps
    const { notBefore, notAfter } = identity().leaf
    const certificate = { fingerprint: this.#fingerprint(), notBefore, notAfter }
    this.#plan = planRenewal(certificate, { hintAt, now: clock.now(), random: this.#random() })
    await savePlan(disk, this.#plan)
  }

  #fingerprint(): string {
    return fingerprint(this.#deps.identity().leaf.der)
  }

  #waitMs(): number {
    const planned = Date.parse(this.#plan?.renewAt ?? '') - this.#deps.clock.now().getTime()
    return Math.max(planned, this.#notBeforeMs - performance.now(), 0)
  }

  #schedule(): void {
    clearTimeout(this.#timer)
    if (!this.#isStarted) return
    const waitMs = Math.min(Math.max(this.#waitMs(), 100), longestWaitMs)
    this.#timer = setTimeout(() => void this.check(), waitMs)
  }
}

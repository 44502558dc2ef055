import type { Context } from '../context.ts'
import { storable } from '../db/storable.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import { installedLink, quietAnswer, rootAnswer, type Where } from './answers.ts'
import type { Poller } from './device-store.ts'
import { PollLimit } from './poll-limit.ts'
import { PollLoad } from './poll-load.ts'
import { PollReader } from './poll-reader.ts'
import { getPoller, poll } from './poller.ts'
import type { QuietDevice, QuietDevices } from './quiet-devices.ts'
import { secondsUntilPoll, sleepOf } from './sleep.ts'

export interface Asked {
  deviceId: string
  /** What the device calls itself in the path. */
  said: string
  agent: string
  where: Omit<Where, 'poller'>
}

export interface Answer {
  /** ddi.md §2. */
  body: Record<string, unknown>
  /** Nothing to do, as before. */
  isRoutine: boolean
}

/** Root polls: from memory where a device is known to have nothing to do, together with others where it is not. */
export class Polls {
  readonly #ctx: Context
  readonly #quiet: QuietDevices
  readonly #reader: PollReader
  readonly #limit = new PollLimit()
  readonly #load: PollLoad

  constructor(ctx: Context, quiet: QuietDevices, load = new PollLoad()) {
    this.#ctx = ctx
    this.#quiet = quiet
    this.#load = load
    this.#reader = new PollReader(ctx)
  }

  /**
   * @throws DomainError `rate-limited`, `not-allowed` for another device's name, `not-found` for a device that does not poll
   */
  async answer({ deviceId, said, agent, where }: Asked): Promise<Answer> {
    if (!this.#limit.take(deviceId)) {
      throw new DomainError('rate-limited', 'This device polls more often than once a second', {
        retryAfterSeconds: 30,
      })
    }
    this.#load.arrive()
    const known = this.#quiet.get(deviceId)
    if (known && (said === deviceId || said === known.controllerId)) {
      return {
        body: quietAnswer(this.#sleep(deviceId, known.seconds, true), known.links),
        isRoutine: true,
      }
    }
    if (!this.#load.mayRead()) {
      throw new DomainError('rate-limited', 'Too many devices poll at once: poll again later', {
        retryAfterSeconds: this.#load.retryAfterSeconds(),
      })
    }
    this.#quiet.begin(deviceId)
    let quiet: QuietDevice | undefined
    try {
      // Nobody is described, met or given an action under another's name.
      if (said !== deviceId) checkName(this.#ctx, said, await getPoller(this.#ctx, deviceId))
      const polled = await poll(this.#ctx, this.#reader, { deviceId, agent })
      const { poller, shown, waits, isQuiet } = polled
      const seconds = secondsUntilPoll(poller, { shown, waits, now: this.#ctx.clock.now() })
      if (isQuiet) {
        const links = installedLink({ ...where, poller })
        quiet = { controllerId: poller.controller_id ?? deviceId, seconds, waits, links }
      }
      const sleep = this.#sleep(deviceId, seconds, isQuiet)
      return { body: rootAnswer({ ...where, poller }, shown, sleep), isRoutine: false }
    } finally {
      this.#quiet.end(deviceId, quiet)
    }
  }

  /** Who has something to do is never told to come later than it otherwise would. */
  #sleep(deviceId: string, seconds: number, isQuiet: boolean): string {
    const stretch = isQuiet ? this.#load.stretch() : 1
    return sleepOf(deviceId, seconds, this.#ctx.clock.now(), stretch)
  }

  /** What a device said or fetched may have given it something else to do. */
  forget(deviceId: string): void {
    this.#quiet.forget([deviceId])
  }
}

/** The name in the path has to be this device's, and says nothing about whether there is another one of that name. */
export function checkName(
  ctx: Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>,
  said: string,
  { device_id: deviceId, controller_id: name }: Poller,
): void {
  if (said === deviceId || said === name) return
  noteEvent(ctx, {
    source: 'server',
    kind: 'ddi-wrong-controller',
    severity: 'warning',
    deviceId,
    facts: { said: storable(said.slice(0, 256)) },
  })
  throw new DomainError('not-allowed', 'The name in the path is not that of the certificate')
}

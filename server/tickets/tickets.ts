import { randomBytes } from 'node:crypto'

import { PkiError } from '../../pki/errors.ts'
import { assertKek } from '../authorities/kek-check.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import type { TicketSecret } from '../tls.ts'
import { openTicketSecret, renewTicketSecret } from './secret.ts'
import { readTicketKey, type TicketKeyRow } from './store.ts'

/** So long one secret seals tickets. What somebody recorded before can be opened by nobody after it. */
const renewMs = 12 * 3_600_000

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'kek' | 'bus'>

/**
 * The secret that all processes seal tickets of TLS sessions with, so that a device resumes at whichever of them it comes to. A ticket
 * says who somebody is and no more: that the device may connect is asked at every connection. Replaced every twelve
 * hours by whoever sees first that it is time; the others hear of it, or find it at their next look. Until then, and where the secret
 * cannot be opened, devices make full handshakes.
 */
export class SessionTickets implements TicketSecret {
  readonly #deps: Deps
  readonly #listeners: (() => void)[] = []
  #version = 0
  #secret: Buffer = randomBytes(48)
  /** That it cannot be opened is said once. */
  #complained = 0

  constructor(deps: Deps) {
    this.#deps = deps
    const look = () => void this.begin()
    deps.bus.subscribe('tickets', look)
    deps.bus.onGap(look)
  }

  /** Looks, and leaves what fails to the next look: devices make full handshakes meanwhile. */
  async begin(): Promise<void> {
    await this.look().catch((error: unknown) => {
      this.#deps.log.warn({ err: error }, 'the secret of session tickets could not be read')
    })
  }

  current = () => this.#secret

  onChange = (listener: () => void) => void this.#listeners.push(listener)

  /** Makes the secret when there is none or it is old, and follows what another process made. */
  async look(): Promise<void> {
    const { db, bus } = this.#deps
    let row = await readTicketKey(db)
    if (!row || this.#isOld(row)) {
      const isOurs = await this.#renew(row?.version ?? 0)
      row = await readTicketKey(db)
      if (row) this.#follow(row)
      if (isOurs) await bus.publish('tickets', [String(row?.version)])
      return
    }
    this.#follow(row)
  }

  /** In both directions: a clock that was ahead must not keep a secret alive. */
  #isOld({ made_at: madeAt }: TicketKeyRow): boolean {
    return Math.abs(this.#deps.clock.now().getTime() - madeAt.getTime()) >= renewMs
  }

  async #renew(before: number): Promise<boolean> {
    const { db, clock, kek } = this.#deps
    const now = clock.now()
    return await inTransaction(db, async (tx) => {
      await assertKek(tx, kek)
      return await renewTicketSecret(tx, { kek, before, now })
    })
  }

  #follow(row: TicketKeyRow): void {
    if (row.version === this.#version) return
    const { kek, log } = this.#deps
    try {
      this.#secret = openTicketSecret(kek, row)
      this.#version = row.version
    } catch (error) {
      if (!(error instanceof PkiError)) throw error
      if (this.#complained === row.version) return
      this.#complained = row.version
      // Alone then: what the others used before is over for this process too.
      this.#secret = randomBytes(48)
      this.#version = 0
      log.warn('the secret of session tickets does not open with the key-encryption key here')
    }
    for (const listener of this.#listeners) listener()
  }
}

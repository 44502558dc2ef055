import {
  type DatabaseConnection,
  type Driver,
  PGliteDialect,
  type PGliteDialectConfig,
  PGliteDriver,
} from 'kysely'

const acquireTimeoutMs = 30_000

/**
 * Kysely's PGlite driver hands its one connection to everybody at once: a query beside an open transaction
 * would run inside that transaction, and a second `begin` would forget the first. This one lends the
 * connection to one borrower at a time, so transactions and queries queue as they would in a pool of one.
 */
export class SerialPGliteDialect extends PGliteDialect {
  readonly #config: PGliteDialectConfig
  constructor(config: PGliteDialectConfig) {
    super(config)
    this.#config = config
  }
  override createDriver(): Driver {
    return new SerialPGliteDriver(this.#config)
  }
}

class SerialPGliteDriver extends PGliteDriver {
  #tail: Promise<void> = Promise.resolve()
  #release: (() => void) | undefined

  override async acquireConnection(): Promise<DatabaseConnection> {
    const before = this.#tail
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#tail = before.then(() => promise)
    // A transaction that waits for a query outside itself would wait for ever: end it with an error instead.
    const { promise: late, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(
      () => reject(new Error('The embedded database was busy for 30 s')),
      acquireTimeoutMs,
    )
    try {
      await Promise.race([before, late])
    } catch (error) {
      resolve()
      throw error
    } finally {
      clearTimeout(timer)
    }
    this.#release = resolve
    return await super.acquireConnection()
  }

  override async releaseConnection(): Promise<void> {
    const release = this.#release
    this.#release = undefined
    release?.()
  }
}

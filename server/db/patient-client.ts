import type { PostgresCursor, PostgresPoolClient, PostgresQueryResult } from 'kysely'
import type { PoolClient } from 'pg'

/**
 * A connection whose statements are not waited for without end. The server's own `statement_timeout` does not help when it is the server that
 * stands still, or its machine is gone without a word. A connection that did not answer is given up, with all that it was asked.
 */
export class PatientClient implements PostgresPoolClient {
  readonly #client: PoolClient
  readonly #limitMs: number
  #isLate = false

  constructor(client: PoolClient, limitMs: number) {
    this.#client = client
    this.#limitMs = limitMs
  }

  query<R>(sql: string, parameters: readonly unknown[]): Promise<PostgresQueryResult<R>>
  query<R>(cursor: PostgresCursor<R>): PostgresCursor<R>
  query<R>(
    what: string | PostgresCursor<R>,
    parameters: readonly unknown[] = [],
  ): Promise<PostgresQueryResult<R>> | PostgresCursor<R> {
    if (typeof what !== 'string') throw new Error('Cursors are not used')
    return this.#ask(what, parameters)
  }

  async #ask<R>(sql: string, parameters: readonly unknown[]): Promise<PostgresQueryResult<R>> {
    if (this.#isLate) throw new Error('Connection terminated')
    const { promise: late, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      this.#isLate = true
      reject(new Error('Connection terminated: the database does not answer'))
    }, this.#limitMs)
    const answer = this.#client.query(sql, [...parameters])
    // Nobody waits for it any more when it was late.
    answer.catch(() => {})
    try {
      return (await Promise.race([answer, late])) as unknown as PostgresQueryResult<R>
    } finally {
      clearTimeout(timer)
    }
  }

  release(destroy = false): void {
    this.#client.release(destroy || this.#isLate)
  }
}

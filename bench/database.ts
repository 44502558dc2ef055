import pg from 'pg'

import { type RunningPostgres, startPostgres } from '../test/support/postgres.ts'
import type { BenchDatabase } from './bench.ts'

/** The one PostgreSQL of a run, started when the first bench asks. Each gets an empty database of its own. */
export class Databases implements AsyncDisposable {
  #postgres: Promise<RunningPostgres> | undefined
  #made = 0

  async next(): Promise<BenchDatabase> {
    const postgres = await (this.#postgres ??= startPostgres())
    const name = `bench_${++this.#made}`
    const client = new pg.Client({ connectionString: postgres.url })
    await client.connect()
    try {
      await client.query(`create database ${name}`)
    } finally {
      await client.end()
    }
    const url = new URL(postgres.url)
    url.pathname = `/${name}`
    return { url: String(url), pid: postgres.pid, stall: () => postgres.stall() }
  }

  /** Of the server, or undefined when none was asked for. */
  async version(): Promise<string | undefined> {
    if (this.#postgres === undefined) return undefined
    const { url } = await this.#postgres
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      const { rows } = await client.query<{ server_version: string }>('show server_version')
      return rows[0]?.server_version
    } finally {
      await client.end()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#postgres)?.stop()
  }
}

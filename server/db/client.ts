import { mkdir } from 'node:fs/promises'

import { PGlite } from '@electric-sql/pglite'
import { Kysely, type LogEvent, PostgresDialect, type Transaction } from 'kysely'
import pg from 'pg'

import { PatientClient } from './patient-client.ts'
import { SerialPGliteDialect } from './pglite-dialect.ts'
import type { Schema } from './schema.ts'

/** Reads take a `Db`. A `Tx` is also a `Db`, so reads work inside a transaction too. */
export type Db = Kysely<Schema>
/** Writes take a `Tx`: a write outside a transaction does not compile. */
export type Tx = Transaction<Schema>

/** Where the data lives. Exactly one of the two; everything above speaks `Db` and does not know which. */
export type DatabaseHandle = AsyncDisposable & { db: Db } & (
    | { kind: 'pglite'; pglite: PGlite }
    | { kind: 'postgres'; url: string }
  )

const int8 = 20
const numeric = 1700
const bytea = 17
/** After its own limit a statement's answer, or the word that it was ended, has to arrive within this time. */
const answerMs = 5_000

export interface PoolLimits {
  max?: number
  /** Of one statement, waiting for locks included. */
  statementMs?: number
  /** Of a transaction, between two of its statements. */
  idleMs?: number
  /** Hears of every statement after it ended. */
  onStatement?: StatementListener | undefined
}

export type StatementListener = (event: LogEvent) => void

/**
 * Connects to a PostgreSQL server. Integers of 64 bits and numerics arrive as JavaScript numbers: everything
 * we store in them (versions, sizes, sequence numbers) is far below 2^53. No statement and no forgotten transaction holds a
 * connection, or what it has locked, for long; the feed of identity changes relies on that (devices/change-feed.ts).
 */
export function connectPostgres(
  url: string,
  { max = 10, statementMs = 30_000, idleMs = 20_000, onStatement }: PoolLimits = {},
): DatabaseHandle {
  const types = {
    getTypeParser: (oid: number, format?: 'text' | 'binary') =>
      oid === int8 || oid === numeric ? Number : pg.types.getTypeParser(oid, format),
  }
  const pool = new pg.Pool({
    connectionString: url,
    max,
    types,
    application_name: 'fleetseal',
    connectionTimeoutMillis: 10_000,
    statement_timeout: statementMs,
    idle_in_transaction_session_timeout: idleMs,
    // Notices a database that went away without a word.
    keepAlive: true,
    keepAliveInitialDelayMillis: 30_000,
  })
  // An idle connection that breaks is replaced by the pool; without a listener it would end the process.
  pool.on('error', () => {})
  // So does one that is lent out and breaks between two statements: whoever holds it hears of it from the next one.
  pool.on('connect', (client) => void client.on('error', () => {}))
  const patient = new WeakMap<pg.PoolClient, PatientClient>()
  const connect = async () => {
    const client = await pool.connect()
    const known = patient.get(client) ?? new PatientClient(client, statementMs + answerMs)
    patient.set(client, known)
    return known
  }
  const lent = { connect, end: async () => await pool.end(), options: pool.options }
  const db = new Kysely<Schema>({
    dialect: new PostgresDialect({ pool: lent }),
    ...(onStatement ? { log: onStatement } : {}),
  })
  return {
    kind: 'postgres',
    url,
    db,
    [Symbol.asyncDispose]: () => db.destroy(),
  }
}

/** Opens the embedded database in `directory` (made when absent), or in memory when undefined. */
export async function openEmbedded(
  directory: string | undefined,
  { onStatement }: Pick<PoolLimits, 'onStatement'> = {},
): Promise<DatabaseHandle> {
  if (directory) await mkdir(directory, { recursive: true, mode: 0o700 })
  const pglite = await PGlite.create({
    ...(directory ? { dataDir: directory } : {}),
    parsers: {
      [int8]: Number,
      [numeric]: Number,
      [bytea]: (text: string) => Buffer.from(text.slice(2), 'hex'),
    },
  })
  const db = new Kysely<Schema>({
    dialect: new SerialPGliteDialect({ pglite }),
    ...(onStatement ? { log: onStatement } : {}),
  })
  return {
    kind: 'pglite',
    pglite,
    db,
    [Symbol.asyncDispose]: () => db.destroy(),
  }
}

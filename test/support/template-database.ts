import pg from 'pg'
import type { TestProject } from 'vitest/node'

import { connectPostgres } from '../../server/db/client.ts'
import { migrateToLatest } from '../../server/db/migrate.ts'
import { startPostgres } from './postgres.ts'

const template = `fleetseal_test_${process.pid}`

/**
 * One PostgreSQL per run (TEST_DATABASE_URL, or one started from npm) with one migrated template database;
 * every test file clones it (see database.ts).
 */
export default async function setup(project: TestProject) {
  const given = process.env['TEST_DATABASE_URL']
  const started = given ? undefined : await startPostgres()
  const server = given ?? started?.url ?? ''
  const admin = new pg.Client({ connectionString: server })
  await admin.connect()
  await admin.query(`create database ${template}`)
  const handle = connectPostgres(urlOf(server, template), { max: 1 })
  await migrateToLatest(handle)
  await handle[Symbol.asyncDispose]()
  project.provide('postgres', { server, template })

  // Dropped here and not after each file: `pool.end()` resolves before its sockets are closed, and
  // dropping a database under a closing socket fails the run now and then.
  return async () => {
    if (!started) {
      const { rows } = await admin.query(
        `select datname from pg_database where datname like '${template}%'`,
      )
      for (const { datname } of rows) await admin.query(`drop database ${datname} with (force)`)
    }
    await admin.end()
    await started?.stop()
  }
}

export function urlOf(server: string, database: string): string {
  const url = new URL(server)
  url.pathname = `/${database}`
  return url.href
}

declare module 'vitest' {
  interface ProvidedContext {
    postgres: { server: string; template: string }
  }
}
